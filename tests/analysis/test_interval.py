"""Confidence intervals against values worked out by hand and by scipy's own tests."""

import pytest
from scipy import stats

from lth.analysis.interval import _of_mean, of_difference


def test_the_interval_of_a_mean_is_students():
    found = _of_mean([1.0, 2.0, 3.0])
    assert (found.mean, found.n) == (2.0, 3)
    assert (found.low, found.high) == pytest.approx((2 - 4.302653 / 3**0.5, 2 + 4.302653 / 3**0.5), rel=1e-6)


def test_one_value_has_no_interval():
    assert _of_mean([0.5]).low is None
    assert of_difference({0: 0.5}, {1: 0.4}).high is None
    assert str(_of_mean([0.5])) == ""


def test_equal_seeds_are_paired():
    a, b = {0: 0.9, 1: 0.8, 2: 0.95}, {2: 0.9, 0: 0.86, 1: 0.74}
    expected = stats.ttest_rel([0.9, 0.8, 0.95], [0.86, 0.74, 0.9]).confidence_interval(0.95)
    found = of_difference(a, b)
    assert (found.low, found.high) == pytest.approx(tuple(expected))


def test_other_seeds_are_compared_by_welch():
    x, y = [0.9, 0.8, 0.95], [0.86, 0.74, 0.9, 0.7]
    expected = stats.ttest_ind(x, y, equal_var=False).confidence_interval(0.95)
    found = of_difference(dict(enumerate(x)), dict(enumerate(y, start=10)))
    assert (found.low, found.high) == pytest.approx(tuple(expected))
    assert str(found).startswith(" [-")


def test_no_spread_is_no_division_by_zero():
    assert of_difference({0: 0.5, 1: 0.5}, {2: 0.25, 3: 0.25}).low == 0.25


def test_no_values_are_refused():
    with pytest.raises(ValueError, match="at least one"):
        _of_mean([])
