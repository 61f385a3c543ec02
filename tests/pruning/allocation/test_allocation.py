"""Allocations keep exactly round(density * total) weights, and no layer more than it has."""

import random

import pytest
import torch

from lth.pruning import Masks, allocation, prune
from lth.pruning.allocation import apportion, count_kept
from lth.pruning.topk import largest

DENSITIES = [1e-4, 0.01, 1 / 3, 0.044, 0.168, 0.25, 0.5, 0.64, 0.8, 0.95, 0.999, 1.0]
SIZES = {"stem": 27, "wide": 1000, "narrow": 3, "empty": 0, "head": 640}


def scores_of(sizes, seed=0, values=None):
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.rand(n, generator=generator) if values is None else torch.randint(values, (n,), generator=generator)
        for name, n in sizes.items()
    }


def pruned(scores, density, seed=1):
    """Scores in which all but the fraction `density` of each layer is already pruned."""
    lost = {
        name: torch.rand(s.shape, generator=torch.Generator().manual_seed(seed)) >= density
        for name, s in scores.items()
    }
    return {name: s.float().masked_fill(lost[name], -torch.inf) for name, s in scores.items()}


def levelled(shares, total, capacity):
    """Slow reference of the real-valued shares: the water level by bisection."""
    low, high = 0.0, 1e9
    for _ in range(200):
        level = (low + high) / 2
        held = sum(min(capacity[name], level * share) for name, share in shares.items())
        low, high = (level, high) if held < total else (low, level)
    return {name: min(capacity[name], high * share) for name, share in shares.items()}


@pytest.mark.parametrize(
    ("density", "total", "kept"),
    [
        (1.0, 7, 7),
        (0.5, 7, 4),
        (0.5, 5, 3),
        (0.15, 10, 2),
        (0.3, 5, 2),
        (0.64, 100, 64),
        (0.285, 1000, 285),
        (1e-9, 9, 0),
    ],
)
def test_halves_are_rounded_up(density, total, kept):
    assert count_kept(density, total) == kept


@pytest.mark.parametrize(("percent", "hint"), [(20, "0.2"), (1.5, "0.015"), (100, "1"), (64.0, "0.64")])
def test_a_percent_is_refused_with_the_fraction_that_was_meant(percent, hint):
    with pytest.raises(ValueError, match=rf"density {percent} must be a fraction.*did you mean {hint}\?"):
        count_kept(percent, 10)


@pytest.mark.parametrize("density", [0, 0.0, -0.1, 101, float("nan"), float("inf"), "0.5", None])
def test_what_is_no_density_is_refused(density):
    with pytest.raises(ValueError, match="must be a fraction of weights kept, over 0 and at most 1"):
        count_kept(density, 10)


@pytest.mark.parametrize("allocate", [allocation.global_, allocation.uniform])
@pytest.mark.parametrize("values", [None, 3])
@pytest.mark.parametrize("left", [1.0, 0.6])
def test_counts_sum_exactly_and_fit(allocate, values, left):
    scores = pruned(scores_of(SIZES, values=values), left)
    room = {name: int((score > -torch.inf).sum()) for name, score in scores.items()}
    total = sum(SIZES.values())
    for density in [d for d in DENSITIES if d * total <= sum(room.values())]:
        counts = allocate(scores, density)
        assert list(counts) == list(scores)
        assert sum(counts.values()) == count_kept(density, total)
        assert all(0 <= counts[name] <= room[name] for name in counts)


@pytest.mark.parametrize("values", [None, 2])
def test_global_counts_are_those_of_the_largest_scores_of_all(values):
    scores = scores_of(SIZES, seed=3, values=values)
    for density in DENSITIES:
        marked = largest(scores, count_kept(density, sum(SIZES.values())))
        assert allocation.global_(scores, density) == {name: int(m.sum()) for name, m in marked.items()}


def test_uniform_gives_every_layer_the_density_to_within_one_weight():
    scores = scores_of(SIZES)
    for density in DENSITIES:
        counts = allocation.uniform(scores, density)
        assert all(abs(counts[name] - density * n) < 1 for name, n in SIZES.items())


def test_uniform_does_not_look_at_the_size_of_scores():
    one, other = scores_of(SIZES, seed=0), scores_of(SIZES, seed=1)
    other["stem"] *= 1000
    assert allocation.uniform(one, 0.3) == allocation.uniform(other, 0.3)


def test_what_a_full_layer_cannot_take_goes_to_the_others_in_proportion():
    scores = {"spent": torch.full((100,), -torch.inf), "one": torch.rand(100), "two": torch.rand(200)}
    scores["spent"][:10] = 1.0
    assert allocation.uniform(scores, 0.25) == {"spent": 10, "one": 30, "two": 60}


@pytest.mark.parametrize("allocate", [allocation.global_, allocation.uniform])
def test_more_than_is_left_is_refused(allocate):
    with pytest.raises(ValueError, match="cannot keep 9 weights"):
        allocate({"a": torch.tensor([1.0, -torch.inf]).repeat(5)}, 0.9)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_under_every_allocation_scores_that_are_no_numbers_are_reported_by_layer(bad):
    """Not as a layer without room: NaN is not -inf."""
    net = torch.nn.Linear(4, 4)
    for allocate in (allocation.global_, allocation.uniform):
        with pytest.raises(ValueError, match="scores of weight are not finite"):
            prune(net, Masks.ones(net), 0.9, lambda *_: {"weight": torch.full((4, 4), bad)}, allocate)


def test_apportioned_counts_are_whole_numbers_next_to_the_shares():
    rng = random.Random(0)
    for _ in range(300):
        n = rng.randint(1, 6)
        capacity = {str(i): rng.choice([0, 1, 2, 5, 40, 1000]) for i in range(n)}
        shares = {str(i): rng.choice([0.5, 1.0, 1 / 3, 7.25, 100.0]) for i in range(n)}
        total = rng.randint(0, sum(capacity.values()))
        counts = apportion(shares, total, capacity)
        real = levelled(shares, total, capacity)
        assert sum(counts.values()) == total
        for name in shares:
            assert 0 <= counts[name] <= capacity[name]
            assert abs(counts[name] - real[name]) < 1 + 1e-6, (shares, total, capacity)


def test_the_rest_goes_to_the_largest_fractions_and_to_the_earlier_layer_where_they_tie():
    plenty = dict.fromkeys("abcd", 100)
    assert apportion({"a": 1.2, "b": 1.7, "c": 1.1}, 4, plenty) == {"a": 1, "b": 2, "c": 1}
    assert apportion(dict.fromkeys("abcd", 1.0), 6, plenty) == {"a": 2, "b": 2, "c": 1, "d": 1}
    assert apportion(dict.fromkeys("abcd", 0.25), 2, plenty) == {"a": 1, "b": 1, "c": 0, "d": 0}


@pytest.mark.parametrize("total", [1, 3, 10, 99, 100, 101, 299, 300])
def test_float_errors_lose_no_weight_and_favour_no_layer(total):
    """Ten shares of 0.1 do not add up to 1 in floats."""
    counts = apportion(dict.fromkeys("abcdefghij", 0.1), total, dict.fromkeys("abcdefghij", 30))
    assert sum(counts.values()) == total
    assert list(counts.values()) == sorted(counts.values(), reverse=True)
    assert max(counts.values()) - min(counts.values()) <= 1


def test_layers_without_a_share_take_only_what_nobody_else_can():
    assert apportion({"none": 0.0, "all": 1.0}, 5, {"none": 10, "all": 8}) == {"none": 0, "all": 5}
    assert apportion({"none": 0.0, "all": 1.0}, 11, {"none": 10, "all": 8}) == {"none": 3, "all": 8}


def test_a_total_beyond_all_capacity_is_refused():
    with pytest.raises(ValueError, match="cannot keep 4 weights where only 3 are left"):
        apportion({"a": 1.0, "b": 1.0}, 4, {"a": 1, "b": 2})
