"""When rules fire, how many units are removed at a density, and which."""

import pytest
import torch

from lth.pruning import Masks
from lth.pruning.structured import units
from lth.pruning.structured._removal import Removal, _count_removed, _remove_lowest
from lth.pruning.structured._unit_selection import leader_group, single_group
from lth.pruning.structured.schedule_rule import ScheduleRule
from lth.pruning.timing import Firings

AGP = [0.1, 0.1797, 0.2481, 0.306, 0.3542, 0.3937, 0.4254, 0.45, 0.4685, 0.4818, 0.4907, 0.4961, 0.4988, 0.4999, 0.5]
COUNTS = [3, 5, 7, 9, 11, 12, 13, 14, 14, 15, 15, 15, 15, 15, 16]


def agp(firings: Firings, start: float, end: float) -> list[float]:
    removal = Removal(start=1 - start, end=1 - end)
    return [1 - removal.density(firings.progress(epoch)) for epoch in firings.epochs]


def test_agp_follows_the_published_sequence_and_counts():
    sparsities = agp(Firings(0, 30, 2), 0.1, 0.5)
    assert [round(s, 4) for s in sparsities] == AGP
    assert [_count_removed(1 - s, 32) for s in sparsities] == COUNTS


@pytest.mark.parametrize("every", range(1, 12))
@pytest.mark.parametrize("window", [(0, 30), (3, 11), (5, 6), (1, 40)])
def test_every_window_ends_at_its_last_density_and_never_falls(window, every):
    firings = Firings(*window, every)
    sparsities = agp(firings, 0.05, 0.7)
    assert firings.epochs == [e for e in range(*window) if (e - window[0]) % every == 0]
    assert sparsities[-1] == pytest.approx(0.7, abs=1e-12)
    assert sparsities == sorted(sparsities)
    if len(sparsities) > 1:
        assert sparsities[0] == pytest.approx(0.05)


def test_lists_count_by_firing_and_a_single_one_goes_to_the_end():
    assert agp(Firings(at=[4, 5, 20]), 0.0, 0.8) == pytest.approx([0, 0.8 * (1 - 0.5**3), 0.8])
    assert agp(Firings(at=[7]), 0.1, 0.8) == pytest.approx([0.8])


@pytest.mark.parametrize("wrong", [
    {}, {"begin": 0, "at": [1]}, {"every": 2, "stop": 3, "at": [1]}, {"begin": 5, "stop": 5}, {"begin": 6, "stop": 5},
    {"begin": 0}, {"stop": 5, "every": 0}, {"stop": 5, "every": -1}, {"begin": -1, "stop": 5}, {"at": []},
    {"at": [3, 3]}, {"at": [3, 1]}, {"at": [-1]},
])  # fmt: skip
def test_contradictory_times_are_refused(wrong):
    with pytest.raises(ValueError, match=r"epoch|window"):
        Firings(**wrong)


@pytest.mark.parametrize(("wrong", "message"), [
    ({"start": 0.5, "end": 0.6}, "do not rise"),
    ({"end": 50}, "fractions"),
    ({"end": None}, "fractions"),
    ({"unit": "filter"}, "unit 'filter' is not one of"),
    ({"ranker": "l3"}, "ranker 'l3' is not one of"),
    ({"coupled": "maybe"}, "'maybe' is not one of"),
    ({"leader": ["a"]}, "one of them"),
    ({"names": []}, "one of them"),
    ({"bn_fold": True, "ranker": "random"}, "bn_fold goes with"),
    ({"minibatches": 3}, "minibatches is for pruners"),
    ({"end": 0.5, "sparsity": 0.5}, r"no \['sparsity'\]"),
])  # fmt: skip
def test_rules_that_make_no_sense_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        ScheduleRule.of(**{"names": ["*"], "end": 0.5, "at": [0], **wrong})


def test_a_firing_after_the_level_is_refused_and_windows_can_be_shares_of_it():
    rule = ScheduleRule.of(names=["*"], end=0.5, begin=0, stop="50%", every=1)
    assert rule.timing.firings(10).epochs == list(range(5))
    assert rule.timing.firings(3).epochs == [0, 1]
    assert ScheduleRule.of(names=["*"], end=0.5, begin=2).timing.firings(4).epochs == [2, 3]
    with pytest.raises(ValueError, match="epoch 7 comes after the level's 5 epochs"):
        ScheduleRule.of(names=["*"], end=0.5, at=[7]).timing.firings(5)


@pytest.mark.parametrize("units", [1, 2, 3, 7, 10, 16, 32, 64, 1000])
def test_counts_are_floors_and_never_all(units):
    for percent in range(100):
        assert _count_removed(1 - percent / 100, units) == min(percent * units // 100, units - 1)
    assert _count_removed(1e-12, units) == units - 1
    assert _count_removed(0.0, units) == units
    assert _count_removed(0.4, 10, group_size=4) == 4
    with pytest.raises(ValueError, match=r"1\.5"):
        _count_removed(1.5, units)


def test_equal_filters_lose_exactly_as_many_as_asked():
    masks = Masks({"w": torch.ones(8, 3, 2, 2)})
    group = single_group("w", (8, 3, 2, 2), units.filters)
    masks.copy_(_remove_lowest(masks, group, torch.ones(8), 0.75))
    assert int(group.removed(masks).sum()) == 2
    assert _remove_lowest(masks, group, torch.ones(8), 0.8) == {}  # as many are gone already
    assert _remove_lowest(masks, group, torch.ones(8), 1.0) == {}


def test_the_lowest_go_and_stay_gone():
    masks = Masks({"w": torch.ones(5, 2)})
    group = single_group("w", (5, 2), units.out_features)
    masks.copy_(_remove_lowest(masks, group, torch.tensor([5.0, 1, 4, 2, 3]), 0.6))
    assert group.removed(masks).tolist() == [False, True, False, True, False]
    masks.copy_(_remove_lowest(masks, group, torch.tensor([1.0, 9, 2, 9, 3]), 0.4))
    assert group.removed(masks).tolist() == [True, True, False, True, False]


def test_units_removed_before_the_rule_may_be_left_out_of_its_count():
    masks = Masks({"w": torch.tensor([[0.0, 0, 0, 0, 1, 1, 1, 1, 1, 1]])})
    group = single_group("w", (1, 10), units.elements)
    scores = torch.arange(10.0)
    assert _remove_lowest(masks, group, scores, 0.6) == {}
    assert _remove_lowest(masks, group, scores, 0.5, removed_before=4)["w"].sum() == 3


def test_a_leader_decides_for_all_and_may_have_nothing_to_remove():
    shapes = {"a": (4, 2), "b": (4, 3)}
    masks = Masks({name: torch.ones(shape) for name, shape in shapes.items()})
    group = leader_group(["b", "a"], shapes, units.out_features)
    assert _remove_lowest(masks, group, torch.tensor([3.0, 1, 2, 4]), 0.9) == {}
    masks.copy_(_remove_lowest(masks, group, torch.tensor([3.0, 1, 2, 4]), 0.5))
    for name in shapes:
        assert masks[name].any(1).tolist() == [True, False, False, True]
    with pytest.raises(ValueError, match="equally many units"):
        leader_group(["a", "c"], {"a": (4, 2), "c": (5, 2)}, units.out_features)


@pytest.mark.parametrize("name", ["elements", "channels", "kernels", "filters", "layer"])
def test_removal_is_of_whole_parts_of_every_unit(name):
    shape = (4, 6, 3, 3)
    group = single_group("w", shape, getattr(units, name))
    masks = Masks({"w": torch.ones(shape)})
    scores = torch.rand(group.n_units, generator=torch.Generator().manual_seed(0))
    sparsity = 1.0 if name == "layer" else 0.5
    masks.copy_(_remove_lowest(masks, group, scores, 1 - sparsity))
    numbers = getattr(units, name)(shape)
    lost = {int(n) for n in numbers[masks["w"] == 0]}
    assert lost == set(scores.argsort()[: int(sparsity * group.n_units)].tolist())
    assert not lost & {int(n) for n in numbers[masks["w"] == 1]}
