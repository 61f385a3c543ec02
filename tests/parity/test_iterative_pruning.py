"""Iterative magnitude pruning: arXiv 1803.03635, section 2 (prune p percent, reset, train); 1912.05671 (rewinding).

The counts of open_lth, the code of those papers: ceil(fraction * remaining) weights are chosen, and the mask keeps what
is strictly larger than the weight after them, so that one weight more goes. The counts of arXiv 2107.00166 are
N - round(N (1 - 0.8^r)) at round r.
"""

import math

import pytest
import torch

from lth.pruning import Masks, allocation, criteria, prune
from lth.pruning.ladder import geometric
from tests.parity.plain import CONV, MLP, PlainMLP, Weights, draw, equal, keep_largest, nearest
from tests.support.harness import configuration, train

LENET = {"fc0": (300, 784), "fc1": (100, 300), "head": (10, 100)}


def masks_of(weights):
    return Masks({f"{name}.weight": torch.ones_like(weight) for name, weight in weights.items()})


def pruned(weights, masks, density):
    return prune(Weights(weights), masks, density, criteria.magnitude, allocation.global_)


def named(masks):
    return {name.removesuffix(".weight"): mask for name, mask in masks.items()}


@pytest.mark.parametrize("values", [None, 4], ids=["distinct", "ties"])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("shapes", [MLP, CONV], ids=["mlp", "conv"])
def test_global_magnitude_keeps_the_largest_at_each_level(shapes, seed, values):
    weights = draw(shapes, seed, values)
    masks, kept = masks_of(weights), None
    for density in (0.8, 0.64, 0.3, 0.05):
        masks = pruned(weights, masks, density)
        sizes = {name: w.abs() for name, w in weights.items()}
        kept = keep_largest(sizes, nearest(density * masks.total), kept)
        assert equal(named(masks), kept)


def open_lth_mask(weights, mask, fraction):
    """Its sparse_global strategy: a threshold among the sorted remaining weights, and a strict comparison."""
    remaining = sum(int(m.sum()) for m in mask.values())
    number = math.ceil(fraction * remaining)
    left = sorted(v for name, w in weights.items() for v in w[mask[name]].abs().tolist())
    return {name: mask[name] & (w.abs() > left[number]) for name, w in weights.items()}


@pytest.mark.parametrize("fraction", [0.2, 0.37])
@pytest.mark.parametrize("seed", range(3))
def test_open_lths_masks_are_ours_at_its_counts(seed, fraction):
    weights = draw(MLP, seed)
    masks, theirs = masks_of(weights), {name: torch.ones(w.shape, dtype=torch.bool) for name, w in weights.items()}
    for _ in range(5):
        theirs = open_lth_mask(weights, theirs, fraction)
        masks = pruned(weights, masks, sum(int(m.sum()) for m in theirs.values()) / masks.total)
        assert equal(named(masks), theirs)


def test_open_lth_keeps_212959_weights_of_lenet_where_ours_keep_212960():
    remaining, ladder = sum(math.prod(shape) for shape in LENET.values()), geometric(levels=1)
    assert remaining == 266200
    assert remaining - math.ceil(0.2 * remaining) - 1 == 212959
    assert allocation.count_kept(ladder[1], remaining) == 212960


def test_fourteen_rounds_of_a_fifth_keep_the_published_counts_of_resnet20():
    total = 269824  # without first layer and classifier
    published = [215859, 172687, 138150, 110520, 88416, 70733, 56586]
    published += [45269, 36215, 28972, 23178, 18542, 14834, 11867]
    assert [total - round(total * (1 - 0.8**r)) for r in range(1, 15)] == published
    assert [allocation.count_kept(d, total) for d in geometric(levels=14)[1:]] == published


def test_rungs_fall_by_a_fifth_until_the_final_density_is_reached():
    rungs, density = [1.0], 1.0
    while density * 0.8 > 0.1 * (1 + 1e-9):
        density *= 0.8
        rungs.append(density)
    assert geometric(0.1) == pytest.approx([*rungs, 0.1])
    assert geometric(0.1, end="overshoot") == pytest.approx([*rungs, density * 0.8])
    assert geometric(0.64, end="overshoot") == pytest.approx([1, 0.8, 0.64])  # though 0.8 * 0.8 > 0.64


RECIPE = ["recipe.lr=0.1", "recipe.weight_decay=0.01", "sparsity.levels=2", "sparsity.density=null"]
RECIPE += ["sparsity.rate=0.5", "recipe.precision=64-true"]


def level_by_hand(net: PlainMLP, loader, snapshot: int = 0) -> dict[str, torch.Tensor]:
    """Three epochs of SGD with momentum 0.9, times 0.1 at a half and at three quarters of them.

    Returns the values after `snapshot` steps.
    """
    net.velocity, step, kept = {}, 0, dict(net.values)
    for epoch in range(3):
        loader.set_epoch(epoch)
        rate = 0.1 * 0.1 ** sum(epoch >= milestone * 3 for milestone in (0.5, 0.75))
        for x, labels in loader:
            net.step(net.masked(net.gradients(x.double(), labels)), rate, 0.9, 0.01, False)
            step += 1
            kept = dict(net.values) if step == snapshot else kept
    return kept


WAYS = {
    "imp": ["method=imp"],  # weights go back to the initial ones
    "wr": ["method=wr", "method.rewind=5it"],  # to those after five steps of level 0
    "lrr": ["method=lrr"],  # stay as they are trained
    "er": ["method=imp", "support=balanced", "support.density=0.5"],  # and masks stay in a random graph (2210.02412)
}


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_a_ladder_of_three_levels_is_the_loop_of_the_paper_to_the_last_bit(way, tmp_path):
    from lth.experiment.build import Experiment
    from lth.storage.folder import RunFolder
    from tests.parity.training import after_level

    train(tmp_path / "ours", *WAYS[way], *RECIPE)
    built = Experiment(configuration(tmp_path / "data", *WAYS[way], *RECIPE), RunFolder(tmp_path / "data"))
    start = {name: p.detach().double().clone() for name, p in built.net.named_parameters()}
    net = PlainMLP(start, dict(built.support))
    density = built.support.density
    total = sum(mask.numel() for mask in net.masks.values())
    for level in range(3):
        if level:
            sizes = {name: w.abs() for name, w in net.used().items() if name in net.masks}
            among = {name: mask.bool() for name, mask in net.masks.items()}
            kept = keep_largest(sizes, nearest(density * 0.5**level * total), among)
            net = PlainMLP(net.used() if way == "lrr" else start, kept)
        built.data.level = level
        snapshot = level_by_hand(net, built.data.train_dataloader(), 5)
        start = snapshot if way == "wr" and level == 0 else start
        weights, masks = after_level(tmp_path / "ours", level)
        assert equal({name: masks[name] for name in net.masks}, net.masks)
        assert equal({name: weights[name] for name in weights}, net.used())
