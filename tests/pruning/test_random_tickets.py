"""Sampling of random masks and repair of dead units: the reference numbers of their papers, computed again."""

from functools import partial

import pytest
from torch import nn

from lth import networks
from lth.pruning import Masks, allocation, criteria, prune
from lth.pruning.position import bernoulli, by_score, shuffled
from lth.pruning.repair import add, dead_units, rewire
from tests.support.shapes import CIFAR, R20


def resnet20_mask(rule, density, place=by_score, seed=0) -> tuple[nn.Module, Masks]:
    net = networks.resnet20(**CIFAR)

    def scores(net, masks, batches):
        return criteria.random(net, masks, seed=seed)

    return net, prune(net, Masks.ones(net), density, scores, rule, placement=partial(place, seed=seed))


@pytest.mark.slow
def test_bernoulli_sampling_has_the_spread_of_its_graph_and_exact_sampling_none():
    for seed in range(3):
        _, masks = resnet20_mask(allocation.erk, 0.05, bernoulli, seed)
        assert abs(masks.kept - 13_544.8) / 107.47 < 4
        assert masks.kept != 13_545
        _, exact = resnet20_mask(allocation.erk, 0.05, shuffled, seed)
        assert exact.kept_by_layer() == allocation.erk(R20, 0.05)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_mask_and_another_overlaps_by_chance():
    for place in (shuffled, bernoulli):
        _, a = resnet20_mask(allocation.uniform, 0.2, place, seed=1)
        _, b = resnet20_mask(allocation.uniform, 0.2, place, seed=1)
        _, c = resnet20_mask(allocation.uniform, 0.2, place, seed=2)
        assert a.digest() == b.digest()
        both = sum(int((a[n].bool() & c[n].bool()).sum()) for n in a)
        assert both / a.kept == pytest.approx(0.2, abs=0.01)


@pytest.mark.slow
def test_dead_units_of_a_bernoulli_mask_are_as_many_as_computed_and_rewiring_revives_them():
    net, masks = resnet20_mask(allocation.uniform, 0.01, bernoulli)
    dead = dead_units(net, masks)
    outputs, inputs = sum(d[0] for d in dead.values()), sum(d[1] for d in dead.values())
    assert outputs == pytest.approx(134.6, abs=4 * 134.6**0.5)
    assert inputs == pytest.approx(120.4, abs=4 * 120.4**0.5)
    repaired = rewire(net, masks)
    assert repaired.kept_by_layer() == masks.kept_by_layer()
    for index, (name, (no_input, no_reader)) in enumerate(dead_units(net, repaired).items()):
        kept = int(masks[name].sum())
        if kept >= masks[name].shape[0]:
            assert no_input == 0, name
        if index and kept >= 2 * masks[name].shape[1] and kept >= 2 * masks[name].shape[0]:
            assert no_reader == 0, name
    grown = add(net, masks)
    after = dead_units(net, grown)
    assert all(d[0] == 0 for d in after.values())
    assert all(d[1] == 0 for name, d in after.items() if name != "conv1.weight")
    assert masks.kept < grown.kept <= masks.kept + outputs + inputs


def test_a_dead_input_column_is_repaired_in_linear_grouped_and_depthwise_layers():
    net = nn.Sequential(nn.Conv2d(4, 8, 3), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 6, 1, groups=2), nn.Linear(6, 4))
    masks = Masks.ones(net)
    masks["3.weight"][:, 2] = 0
    masks["2.weight"][0] = 0
    masks["1.weight"][5] = 0
    assert {n: d for n, d in dead_units(net, masks).items() if any(d)} == {
        "1.weight": (1, 1),
        "2.weight": (1, 0),
        "3.weight": (0, 1),
    }
    repaired = rewire(net, masks)
    assert dead_units(net, repaired)["2.weight"] == (0, 0)
    assert dead_units(net, repaired)["3.weight"] == (0, 0)
    assert not any(any(d) for d in dead_units(net, add(net, masks)).values())
