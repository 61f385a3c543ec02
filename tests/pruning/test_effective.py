"""Which kept weights matter: those on a path of kept weights from the input to an output, found path by path here."""

from itertools import product

import pytest
import torch
from torch import nn

from lth.analysis.layers import _live_weights, layer_table
from lth.networks import resnet20
from lth.pruning import Masks
from lth.pruning.linearised import effective
from lth.pruning.restore import preserved


def by_paths(*masks: torch.Tensor) -> list[torch.Tensor]:
    """Weights of a chain of linear layers that some path uses, trying every path."""
    used = [torch.zeros_like(mask, dtype=torch.bool) for mask in masks]
    for path in product(range(masks[0].shape[1]), *(range(len(mask)) for mask in masks)):
        if all(mask[path[i + 1], path[i]] for i, mask in enumerate(masks)):
            for i, layer in enumerate(used):
                layer[path[i + 1], path[i]] = True
    return used


@pytest.mark.parametrize("density", [0.1, 0.25, 0.5])
@pytest.mark.parametrize("seed", range(3))
def test_effective_weights_are_those_that_some_path_uses(seed, density):
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Flatten(), nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)
    )
    nn.init.uniform_(net[2].running_mean, -5, 5)
    masks = Masks.ones(net)
    masks.copy_({name: torch.rand(mask.shape) < density for name, mask in masks.items()})
    with preserved(net):
        live = effective(net, masks, (1, 2, 2))
    assert all(torch.equal(a, b) for a, b in zip(live.values(), by_paths(*masks.values()), strict=True))
    counts = {name: int(layer.sum()) for name, layer in live.items()}
    assert _live_weights(net, masks, (1, 2, 2)) == counts
    assert [row["effective"] for row in layer_table(net, masks, (1, 2, 2))] == list(counts.values())


def test_a_residual_connection_carries_flow_around_an_empty_layer():
    net = resnet20(classes=4, channels=1, image_size=8)
    masks = Masks.ones(net)
    masks["layer1.1.conv1.weight"].zero_()
    rows = {row["layer"]: row["effective"] for row in layer_table(net, masks, (1, 8, 8))}
    assert rows["layer1.1.conv1.weight"] == rows["layer1.1.conv2.weight"] == 0
    assert rows["classifier.weight"] == 256
    masks["conv1.weight"].zero_()
    assert all(row["effective"] == 0 for row in layer_table(net, masks, (1, 8, 8)))


def test_a_weight_without_a_reader_is_kept_but_not_effective():
    net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 3, padding=1))
    masks = Masks.ones(net)
    masks["2.weight"][:, 3] = 0
    table = layer_table(net, masks, (1, 5, 5))
    assert [(row["kept"], row["effective"]) for row in table] == [(36, 27), (54, 54)]
    assert [(row["dead_outputs"], row["dead_inputs"]) for row in table] == [(0, 0), (0, 1)]


@pytest.mark.slow
def test_a_network_of_a_hundred_layers_neither_overflows_nor_vanishes():
    for width in (2, 512):
        with torch.random.fork_rng():
            net = nn.Sequential(nn.Flatten(), *(nn.Linear(width, width) for _ in range(100)))
        masks = Masks.ones(net)
        counts = _live_weights(net, masks, (1, 1, width))
        assert counts is not None
        assert set(counts.values()) == {width**2}


def test_layer_norm_leaves_the_number_of_effective_weights_unknown():
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 2))
    assert _live_weights(net, Masks.ones(net), (1, 2, 2)) is None
    assert layer_table(net, Masks.ones(net), (1, 2, 2))[0]["effective"] is None
