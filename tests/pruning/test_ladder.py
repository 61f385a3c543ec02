"""Ladders: the papers' numbers of levels and weights, exact ends, and falling all the way."""

from itertools import pairwise

import pytest

from lth.networks import resnet20
from lth.pruning import Masks, allocation, criteria, prune
from lth.pruning.allocation import count_kept
from lth.pruning.ladder import geometric, linear, listed, one_shot

SPARSITY = [0.2, 0.36, 0.488, 0.59, 0.672, 0.738, 0.79, 0.832, 0.866, 0.893, 0.914, 0.931, 0.945, 0.956]
KEPT = [215859, 172687, 138150, 110520, 88416, 70733, 56586, 45269, 36215, 28972, 23178, 18542, 14834, 11867]
RESNET20 = 269_824


@pytest.mark.parametrize(
    ("rate", "sparsity", "levels", "end"),
    [
        (0.2, 0.5, 5, 0.4096),
        (0.2, 0.8, 9, 0.1678),
        (0.2, 0.9, 12, 0.0859),
        (0.2, 0.98, 19, 0.0180),
        (0.2, 0.99, 22, 0.00922),
        (0.5, 0.9, 5, 0.0625),
        (0.5, 0.98, 7, 0.0156),
    ],
)
def test_overshooting_ladders_have_the_published_number_of_levels(rate, sparsity, levels, end):
    ladder = geometric(1 - sparsity, rate, end="overshoot")
    assert len(ladder) == levels
    assert ladder[-1] == pytest.approx(end, rel=5e-3)
    assert ladder == pytest.approx([(1 - rate) ** i for i in range(levels)])


def repeated(ratio, times):
    """The power as a loop multiplies it, with the loop's rounding errors."""
    value = 1.0
    for _ in range(times):
        value *= ratio
    return value


@pytest.mark.parametrize("end", ["exact", "overshoot"])
@pytest.mark.parametrize("prunings", range(1, 30))
def test_float_errors_add_no_level(prunings, end):
    """0.8 ** 2 is 0.6400000000000001 in floats: over 0.64, and yet there."""
    for rate in (0.2, 0.1, 0.5, 0.3):
        for density in ((1 - rate) ** prunings, float(f"{(1 - rate) ** prunings:.12g}"), repeated(1 - rate, prunings)):
            assert len(geometric(density, rate, end=end)) == prunings + 1
    assert geometric(0.64, end=end) == pytest.approx([1, 0.8, 0.64])


def test_an_exact_end_replaces_the_last_power_only():
    ladder = geometric(0.044)
    assert ladder[:-1] == [0.8**i for i in range(14)]
    assert ladder[-1] == 0.044
    assert geometric(0.05)[-2:] == [0.8**13, 0.05]
    assert geometric(0.9) == [1.0, 0.9]


def test_densities_and_kept_weights_of_resnet20_are_the_papers():
    ladder = geometric(levels=14)
    assert [round(1 - d, 3) for d in ladder[1:]] == SPARSITY
    assert [count_kept(d, RESNET20) for d in ladder[1:]] == KEPT
    assert [RESNET20 - round(RESNET20 * (1 - 0.8**r)) for r in range(1, 15)] == KEPT
    assert RESNET20 - KEPT[10] == 246_646


@pytest.mark.slow
def test_resnet20_pruned_down_the_ladder_keeps_the_papers_counts():
    net = resnet20(10, 3, 32)
    masks = Masks.ones(net, exclude=["@first", "@head"])
    assert masks.total == RESNET20
    kept = []
    for density in geometric(levels=14)[1:]:
        masks = prune(net, masks, density, criteria.magnitude, allocation.global_)
        kept.append(masks.kept)
    assert kept == KEPT


def test_a_ladder_of_so_many_levels_ends_where_it_was_told():
    ladder = geometric(0.1, rate=None, levels=4)
    assert ladder[-1] == 0.1
    ratios = [b / a for a, b in pairwise(ladder)]
    assert ratios == pytest.approx([0.1**0.25] * 4)
    assert geometric(rate=0.5, levels=3) == [1, 0.5, 0.25, 0.125]


def test_linear_ladders_remove_the_same_number_at_every_level():
    assert linear(0.1, 3) == pytest.approx([1, 0.7, 0.4, 0.1])
    assert linear(0.1, 7)[-1] == 0.1
    assert one_shot(0.05) == [1, 0.05]


@pytest.mark.parametrize("ladder", [geometric(0.05, start=0.2), linear(0.05, 3, start=0.2), one_shot(0.05, start=0.2)])
def test_a_ladder_may_start_below_one(ladder):
    assert ladder[0] == 0.2
    assert ladder[-1] == 0.05
    assert all(a > b for a, b in pairwise(ladder))


@pytest.mark.parametrize(
    ("given", "ladder"),
    [
        (([0.5, 0.2],), [1, 0.5, 0.2]),
        (([1.0, 0.5],), [1, 0.5]),
        (([0.5, 0.2, 0.1, 0.05], 0.15), [1, 0.5, 0.2, 0.15]),
        (([0.5, 0.2, 0.1, 0.05], 0.2), [1, 0.5, 0.2]),
        (([0.5, 0.2], 0.05), [1, 0.5, 0.2, 0.05]),
        (([0.5], 0.8), [1, 0.8]),
        (([1.0], 1.0), [1]),
        (([], 0.5), [1, 0.5]),
    ],
)
def test_a_list_ends_at_the_density_asked_for(given, ladder):
    assert listed(*given) == ladder


def test_a_ladder_to_density_one_is_the_start_alone():
    assert geometric(1.0) == [1.0]
    assert geometric(1.0, end="overshoot") == [1.0]


@pytest.mark.parametrize(
    ("ladder", "message"),
    [
        (lambda: listed([0.2, 0.5]), "0.2 is followed by 0.5"),
        (lambda: listed([0.2, 0.5], 0.3), "0.2 is followed by 0.5"),
        (lambda: listed([0.5, 0.5]), "0.5 is followed by 0.5"),
        (lambda: listed([0.5], start=0.2), "0.2 is followed by 0.5"),
        (lambda: listed([0.1], 0.5, start=0.2), "above the ladder's start"),
        (lambda: geometric(0.5, start=0.2), "above the ladder's start"),
        (lambda: linear(0.5, 3, start=0.2), "above the ladder's start"),
        (lambda: one_shot(0.5, start=0.2), "above the ladder's start"),
        (lambda: listed([]), "at least one density"),
        (lambda: listed([50, 20]), "did you mean 0.5"),
        (lambda: geometric(4.4), "did you mean 0.044"),
        (lambda: linear(10, 3), "did you mean 0.1"),
        (lambda: one_shot(0.0), "over 0 and at most 1"),
        (lambda: geometric(0.1, start=20), "did you mean 0.2"),
        (lambda: geometric(0.1, rate=20), r"sparsity.rate=20: must be a number over 0 and under 1"),
        (lambda: geometric(0.1, rate=1.0), r"sparsity.rate=1.0: must be a number over 0 and under 1"),
        (lambda: geometric(0.1, rate=0.0), r"sparsity.rate=0.0: must be a number over 0 and under 1"),
        (lambda: geometric(), "takes two of"),
        (lambda: geometric(0.1, 0.2, 5), "takes two of"),
        (lambda: geometric(0.1, None), "takes two of"),
        (lambda: geometric(0.1, end="clip"), "'clip' is not one of"),
        (lambda: geometric(levels=3, end="clip"), "'clip' is not one of"),
        (lambda: geometric(levels=0), r"sparsity.levels=0: must be"),
        (lambda: linear(0.1, 1001), r"sparsity.levels=1001: must be"),
        (lambda: geometric(0.044, rate=1e-9), r"sparsity.rate=1e-09: .* would have 3.12e\+09 levels"),
        (lambda: geometric(0.044, rate=1e-20), r"sparsity.rate=1e-20: .* levels"),
        (lambda: listed([1 - i / 2000 for i in range(1002)]), r"sparsity.densities has 1002 entries"),
        (lambda: linear(0.1, 2.5), r"sparsity.levels=2.5: must be"),
    ],
)
def test_what_is_no_falling_ladder_is_refused(ladder, message):
    with pytest.raises(ValueError, match=message):
        ladder()
