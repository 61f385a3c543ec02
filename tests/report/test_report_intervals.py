"""Intervals of a report: within 0 to 1, none from two seeds, and whom the best is clearly ahead of."""

import pytest
from scipy import stats

from lth.report._best import best_series
from lth.report._cost import Cost
from lth.report._intervals import compare, interval_of_mean
from lth.report._sections import Group
from lth.report._series import Point, Series


@pytest.mark.parametrize("values", [[0.2, 0.7], [0.5, 0.5, 0.5], [1.0, 1.0, 1.0]])
def test_two_seeds_and_equal_ones_have_no_interval(values):
    assert interval_of_mean(values, fraction=True) is None


def test_an_interval_of_accuracies_stays_within_0_and_1_and_is_students_where_it_is_narrow():
    low, high = interval_of_mean([0.99, 0.95, 1.0], fraction=True)
    assert 0 < low < 0.98 < high < 1
    values = [0.5, 0.501, 0.502]
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert interval_of_mean(values, fraction=True) == pytest.approx(tuple(expected), abs=1e-5)
    assert interval_of_mean(values, fraction=False) == pytest.approx(tuple(expected))


def test_a_lead_is_clear_where_it_stays_so_among_all_comparisons():
    best, other = {0: 0.90, 1: 0.91, 2: 0.92}, {0: 0.88, 1: 0.895, 2: 0.89}
    assert compare(best, other, 1)[0] == "behind"
    assert compare(best, other, 50)[0] == "probable"
    assert compare(best, {0: 0.93, 1: 0.86, 2: 0.92}, 1)[0] == "close"
    assert compare(best, {0: 0.1, 1: 0.2}, 1) is None


def test_of_many_series_the_best_and_the_dense_one_are_readable():
    def series(name, *points):
        group = Group(name, "", (), (name,), ())
        made = [Point(density, 1, mean, None, None, None, Cost(1, None, 1)) for density, mean in points]
        return Series(name, group, "", tuple(made))

    many = [series(f"m{i}", (0.1, 0.5 + 0.01 * i)) for i in range(20)] + [series("dense", (1.0, 0.9))]
    assert [one.label for one in best_series(many, 4)] == ["m17", "m18", "m19", "dense"]
    assert best_series(many, 30) == many
