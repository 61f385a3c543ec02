"""Shares of a budget: the published examples, exact sums, and the real shares of every strategy."""

from itertools import pairwise
from random import Random

import pytest

from lth.plan import Budget, LadderBudget
from lth.plan.budget import STRATEGIES, Cycles, split


@pytest.mark.parametrize(
    ("strategy", "budget", "parts", "rounding", "shares"),
    [
        ("linear_decrease", 150, 4, "exact", [60, 45, 30, 15]),
        ("linear_decrease", 150, 4, "floor", [60, 45, 30, 15]),
        ("constant", 150, 4, "exact", [38, 38, 37, 37]),
        ("constant", 150, 4, "floor", [37, 37, 37, 37]),
        ("alternating", 150, 4, "floor", [50, 24, 50, 24]),
        ("plateau", 150, 4, "floor", [33, 66, 24, 24]),
        ("linear_decrease", 90, 5, "exact", [30, 24, 18, 12, 6]),
        ("linear_decrease", 90, 5, "floor", [30, 24, 18, 12, 6]),
    ],
)
def test_shares_have_the_published_values(strategy, budget, parts, rounding, shares):
    assert split(budget, parts, strategy, rounding) == shares


def real(strategy: str, budget: float, n: int) -> list[float]:
    """The table of the specification, one line a strategy, before normalising."""
    m, s = n // 2, budget / (n * (n + 1) / 2)
    if n == 1:
        return [budget]
    high = budget / (m + n % 2)
    f = {"exponential_decrease": 0.5 ** (1 / (n - 1)), "exponential_increase": 2 ** (1 / (n - 1))}.get(strategy, 1.0)
    return {
        "constant": [budget / n] * n,
        "linear_decrease": [s * (n - i) for i in range(n)],
        "linear_increase": [s * (i + 1) for i in range(n)],
        "exponential_decrease": [budget * f**i / sum(f**j for j in range(n)) for i in range(n)],
        "exponential_increase": [budget * f**i / sum(f**j for j in range(n)) for i in range(n)],
        "cyclic_peak": [
            (i + 1) * budget / (m * (m + 1) / 2) if i < m else (n - i) * budget / ((n - m) * (n - m + 1) / 2)
            for i in range(n)
        ],
        "alternating": [high if i % 2 == 0 else high / 2 for i in range(n)],
        "plateau": [(i + 1) * budget / (m * (m + 1) / 2) if i < m else budget / n for i in range(n)],
    }[strategy]


DRAW = Random(0)
LARGE = [(DRAW.randint(2000, 10**6), parts) for parts in range(1, 41) for _ in range(5)]  # no part gets nothing
SMALL = [(budget, parts) for budget in (*range(1, 31), 60, 119) for parts in (*range(1, 11), 29)]


@pytest.mark.slow
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_exact_shares_sum_to_the_budget_and_are_within_one_of_the_real_ones(strategy):
    for budget, parts in LARGE:
        shares, wanted = split(budget, parts, strategy), real(strategy, budget, parts)
        assert sum(shares) == budget
        assert len(shares) == parts
        assert all(abs(s - w * budget / sum(wanted)) < 1 + 1e-6 for s, w in zip(shares, wanted, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_floored_shares_drop_less_than_two_a_part(strategy):
    for budget, parts in LARGE:
        shares, wanted = split(budget, parts, strategy, "floor"), real(strategy, budget, parts)
        assert 0 <= budget - sum(shares) < 2 * parts
        assert all(abs(s - w * budget / sum(wanted)) < 2 for s, w in zip(shares, wanted, strict=True))


@pytest.mark.parametrize("rounding", ["exact", "floor"])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_one_part_is_the_whole(strategy, rounding):
    assert all(split(budget, 1, strategy, rounding) == [budget] for budget in range(1, 300))


@pytest.mark.slow
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("rounding", ["exact", "floor"])
def test_a_part_is_never_empty(strategy, rounding):
    for budget, parts in SMALL:
        wanted = real(strategy, budget, parts)
        try:
            shares = split(budget, parts, strategy, rounding)
        except ValueError:
            assert min(wanted) * budget / sum(wanted) < (1 if rounding == "exact" else 3)
        else:
            assert min(shares) >= 1
            assert sum(shares) <= budget


def test_the_rest_goes_to_the_largest_fractions_and_of_equal_ones_to_the_earlier():
    assert split(11, 4) == [3, 3, 3, 2]  # 2.75 each
    assert split(90, 5, "alternating") == [23, 11, 23, 11, 22]  # 22.5 11.25 22.5 11.25 22.5
    assert split(10, 4, "linear_increase") == [1, 2, 3, 4]
    assert split(11, 4, "linear_increase") == [1, 2, 3, 5]  # 1.1 2.2 3.3 4.4


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_strategy_does_what_its_name_says(name):
    shares = split(10_000, 6, name)
    steps = [after - before for before, after in pairwise(shares)]
    if name.endswith(("decrease", "increase")):
        assert all(step < 0 for step in steps) == name.endswith("decrease")
        assert all(step > 0 for step in steps) == name.endswith("increase")
    if name.startswith("exponential"):
        assert max(shares) / min(shares) == pytest.approx(2, rel=1e-2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((10, 4, "quadratic"), "'quadratic' is not one of .*'linear_decrease'"),
        ((10, 4, "constant", "up"), "rounding='up' is not one of .*'floor'"),
        ((10, 0), "n=0: a budget"),
        ((10, 2.5), "n=2.5: a budget"),
        ((3, 4), "3 in 4 parts, constant, would be .* every part needs 1 or more"),
        ((9, 4, "linear_decrease", "floor"), "every part needs 1 or more"),
    ],
)
def test_what_is_no_division_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        split(*arguments)


def test_a_cycled_level_is_as_long_as_its_cycles():
    assert Budget.of(150, 97, 97, Cycles(4, "linear_decrease")) == Budget(14_550, 97, (5820, 4365, 2910, 1455))
    assert Budget.of(150, 97, 97, Cycles(4, rounding="floor")).horizon == 148 * 97
    assert Budget.of(100, 1, 97, Cycles(3)).schedules == (34, 33, 33)  # a recipe in steps: cycles in steps
    assert Budget.of(150, 97, 97, Cycles(1, "plateau", "floor")) == Budget(14_550, 97)


def test_a_total_is_spread_over_levels_and_each_level_over_its_cycles():
    levels = LadderBudget(90, 10, "linear_decrease", Cycles(2)).over(5)
    assert [level.horizon for level in levels] == [300, 240, 180, 120, 60]
    assert levels[0].schedules == (150, 150)
    with pytest.raises(ValueError, match=r"recipe.total_epochs over the levels: 3 in 4 parts"):
        LadderBudget(3, 10).over(4)
    with pytest.raises(ValueError, match=r"recipe.cycles: 1 in 2 parts"):
        LadderBudget(4, 10, cycles=Cycles(2)).over(4)
