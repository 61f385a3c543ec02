"""Looks-linear weights: a ReLU network that is linear at the start, also under a mask that is mirrored alike."""

import logging
from itertools import pairwise

import pytest
import torch
from torch import nn

from lth.networks import mlp, mobilenet_v1
from lth.pruning import Masks, allocation, criteria, prune
from lth.pruning.initial_weights._orthogonal import _residual
from lth.pruning.initial_weights.looks_linear import _Mirror, _mirrors, looks_linear, mirror


def chain(*widths: int) -> nn.Sequential:
    layers = [m for a, b in pairwise(widths) for m in (nn.Linear(a, b, bias=False), nn.ReLU())]
    return nn.Sequential(*layers[:-1]).double()


def convolutions() -> nn.Sequential:
    """Strides, padding, average pooling and channels flattened into a linear layer."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Conv2d(8, 12, 3, stride=2, bias=False),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(12 * 3 * 3, 5, bias=False),
    ).double()


def random_masks(net: nn.Module, density: float, seed: int = 0) -> Masks:
    def scores(net, masks, batches):
        return criteria.random(net, masks, seed=seed)

    return prune(net, Masks.ones(net), density, scores, allocation.uniform)


def linearity_error(net: nn.Module, *shape: int) -> float:
    """How far f(2 x - 3 y) is from 2 f(x) - 3 f(y), relative to the outputs."""
    torch.manual_seed(1)
    x, y = torch.randn(2, 16, *shape, dtype=torch.float64)
    with torch.no_grad():
        expected = 2 * net(x) - 3 * net(y)
        return float((net(2 * x - 3 * y) - expected).norm() / expected.norm())


@pytest.mark.parametrize("make", [lambda: chain(10, 16, 24, 16, 7), lambda: chain(40, 6, 8, 3), convolutions])
def test_without_a_mask_a_network_without_biases_is_linear_in_its_input(make):
    net = make()
    shape = (3, 14, 14) if isinstance(net[0], nn.Conv2d) else (net[0].in_features,)
    assert linearity_error(net, *shape) > 0.1
    looks_linear(net, Masks.ones(net), 0)
    assert linearity_error(net, *shape) < 1e-12


def test_batch_norm_of_a_batch_keeps_the_mirror():
    first, second, head = nn.Conv2d(3, 8, 3, bias=False), nn.Conv2d(8, 12, 3, bias=False), nn.Linear(12, 4)
    net = nn.Sequential(first, nn.BatchNorm2d(8), nn.ReLU(), second, nn.BatchNorm2d(12), nn.ReLU(), head).double()
    looks_linear(net, Masks.ones(net), 0)
    up, down = net[:5](torch.randn(4, 3, 9, 9, dtype=torch.float64)).chunk(2, 1)
    assert torch.allclose(up, -down, atol=1e-12)
    assert up.std() > 0.5


@pytest.mark.parametrize("steps", [0, 20])
def test_under_a_mirrored_mask_it_stays_linear(steps):
    for net, shape in ((chain(10, 16, 24, 16, 8), (10,)), (convolutions(), (3, 14, 14))):
        masks = mirror(net, random_masks(net, 0.5))
        assert masks.density == pytest.approx(0.5, abs=0.02)
        looks_linear(net, masks, 0, steps=steps)
        assert linearity_error(net, *shape) < 1e-12
        for name, weight in zip(masks, masks.weights(net), strict=True):
            assert (weight[~masks[name].bool()] == 0).all()


def test_under_another_mask_the_cancellation_is_lost_and_a_warning_names_the_layers(caplog):
    net = chain(10, 16, 24, 8)
    with caplog.at_level(logging.WARNING):
        looks_linear(net, random_masks(net, 0.5), 0)
    assert linearity_error(net, 10) > 0.01
    assert all(name in caplog.text for name in ("0.weight", "2.weight", "4.weight", "repair=mirror"))


def test_weights_are_mirrored_orthogonal_and_scaled_by_their_layers_density():
    net = chain(10, 16, 24, 8)
    masks = mirror(net, random_masks(net, 0.5))
    dense, sparse = chain(10, 16, 24, 8), net
    looks_linear(dense, Masks.ones(dense), 5)
    looks_linear(sparse, masks, 5, steps=0)
    first, middle, last = (dense[i].weight for i in (0, 2, 4))
    assert torch.equal(first[:8], -first[8:])
    assert torch.equal(middle[:12, :8], -middle[12:, :8])
    assert torch.equal(middle[:12], torch.cat([middle[:12, :8], -middle[:12, :8]], 1))
    assert torch.equal(last[:, :12], -last[:, 12:])
    for cell in (first[:8], middle[:12, :8], last[:, :12]):
        assert _residual(cell) < 1e-5
    for index, name in ((0, "0.weight"), (2, "2.weight"), (4, "4.weight")):
        mask = masks[name]
        expected = dense[index].weight * mask / (mask.sum() / mask.numel()) ** 0.5
        assert torch.allclose(sparse[index].weight, expected)


@pytest.mark.slow
def test_as_published_the_last_layer_is_mirrored_twice_and_one_density_scales_all():
    net = chain(10, 16, 24, 8)
    masks = Masks.ones(net)
    masks["2.weight"][:, ::2] = 0
    looks_linear(net, masks, 0, as_published=True)
    last = net[4].weight.detach()
    assert torch.equal(last[:4], -last[4:])
    rows = last[:4, :12] * masks.density**0.5
    assert _residual(rows) < 1e-5
    assert [m.outputs for m in _mirrors(net, as_published=True).values()] == [True] * 3
    assert [m.outputs for m in _mirrors(net).values()] == [True, True, False]


@pytest.mark.slow
def test_the_repair_under_a_mirrored_mask_lowers_the_residual_of_the_repeated_part(caplog):
    net = chain(20, 64, 64, 8)
    masks = mirror(net, random_masks(net, 0.5))
    looks_linear(net, masks, 0, steps=0)
    before = _residual(net[2].weight[:32, :32]).item()
    with caplog.at_level(logging.INFO):
        looks_linear(net, masks, 0)
    assert _residual(net[2].weight[:32, :32]).item() < 0.6 * before
    assert "2.weight" in caplog.text


def test_a_mirrored_mask_is_random_keeps_its_counts_and_mirrors_again_to_itself():
    net = chain(64, 128, 96, 10)
    masks = random_masks(net, 0.1)
    made = mirror(net, masks, 0)
    for name, kept in made.kept_by_layer().items():
        assert abs(kept - masks.kept_by_layer()[name]) <= 2
    cell = made["2.weight"][:48, :64]
    assert torch.equal(made["2.weight"], torch.cat([torch.cat([cell, cell], 1)] * 2))
    assert torch.equal(made["0.weight"][:64], made["0.weight"][64:])
    assert torch.equal(made["4.weight"][:, :48], made["4.weight"][:, 48:])
    assert mirror(net, made, 9).digest() == made.digest()
    assert mirror(net, masks, 0).digest() == made.digest()
    assert mirror(net, random_masks(net, 0.1, seed=1), 0).digest() != made.digest()
    rows = cell.sum(1)
    assert rows.float().std() == pytest.approx((64 * 0.1 * 0.9) ** 0.5, rel=0.5), "spread of a random mask"


def test_masks_nested_in_a_mirrored_one_stay_nested_when_they_are_mirrored():
    net = chain(64, 128, 96, 10)
    before = mirror(net, random_masks(net, 0.5))
    pruned = prune(net, before, 0.2, criteria.magnitude, allocation.global_)
    after = mirror(net, pruned)
    assert all((after[name] <= mask).all() for name, mask in before.items())
    assert after.density == pytest.approx(0.2, abs=0.001)


@pytest.mark.parametrize("widths", [(5, 7, 9, 3), (1, 1, 1), (4, 3)])
def test_odd_widths_are_cropped(widths):
    net = chain(*widths)
    masks = mirror(net, Masks.ones(net))
    assert masks.density == 1
    looks_linear(net, masks, 0)
    assert all(weight.isfinite().all() and weight.abs().sum() > 0 for weight in net.parameters())
    sparse = random_masks(net, 0.5)
    made = mirror(net, sparse)
    assert mirror(net, made).digest() == made.digest()


def test_roles_come_from_the_network_even_where_its_head_has_no_mask():
    net = mlp(classes=4, channels=1, image_size=4, widths=[8, 6])
    head = net.classifier.weight.detach().clone()
    masks = Masks.ones(net, exclude=["@head"])
    looks_linear(net, masks, 0)
    hidden = list(masks.weights(net))[-1]
    assert torch.equal(hidden[:3], -hidden[3:]), "not taken for the last layer"
    assert torch.equal(net.classifier.weight, head)


def test_grouped_convolutions_are_refused_by_name():
    net = mobilenet_v1(classes=4, channels=3, image_size=32)
    with pytest.raises(ValueError, match="these have groups: "):
        looks_linear(net, Masks.ones(net), 0)
    with pytest.raises(ValueError, match="these have groups: "):
        mirror(net, Masks.ones(net))


def test_folding_counts_the_copies_that_tiling_makes():
    for outputs, inputs in ((True, True), (True, False), (False, True), (False, False)):
        how, ones = _Mirror(outputs, inputs), torch.ones(6, 4, 1, 1)
        assert how.fold(ones).unique().tolist() == [2 ** (outputs + inputs)]
        cell = torch.zeros_like(how.cell(ones))
        cell[0, 1] = 1
        assert torch.equal(how.fold(how.tile(cell, ones.shape, 1)), cell * 2 ** (outputs + inputs))
