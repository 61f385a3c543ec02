"""Confidence intervals over seeds: Student's t on a mean, on paired differences, or Welch's on unpaired ones."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean, stdev


@dataclass(frozen=True)
class Interval:
    """A mean and its confidence interval.

    low, high: ends of the interval; None where a single value gives no spread
    n: number of values; for a difference, that of the smaller sample
    """

    mean: float
    low: float | None
    high: float | None
    n: int

    def __str__(self) -> str:
        """` [low, high]` in percentage points, for an interval of fractions; an empty string if there are no ends."""
        if self.low is None or self.high is None:
            return ""
        return f" [{100 * self.low:+.2f}, {100 * self.high:+.2f}]"


def _of_mean(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """The mean of `values` with Student's t interval at `confidence`. Raises ValueError if `values` is empty."""
    if not values:
        raise ValueError("an interval needs at least one value")
    mean, n = fmean(values), len(values)
    if n == 1:
        return Interval(mean, None, None, 1)
    half = t_quantile((1 + confidence) / 2, n - 1) * stdev(values) / math.sqrt(n)
    return Interval(mean, mean - half, mean + half, n)


@lru_cache
def t_quantile(probability: float, freedom: int) -> float:
    """The quantile of Student's t with `freedom` degrees of freedom."""
    from scipy.special import stdtrit  # imported here: it takes a tenth of a second; scipy.stats takes a whole one

    return float(stdtrit(freedom, probability))


def of_difference(a: Mapping[int, float], b: Mapping[int, float], confidence: float = 0.95) -> Interval:
    """The mean of `a` minus that of `b` with a t interval: paired where both have the same seeds, else Welch's.

    a, b: seed -> value
    confidence: probability that the interval covers the difference

    Pairing removes the effect that a seed has on both runs, which is most of the noise between ticket and control.
    """
    if set(a) == set(b):
        return _of_mean([a[seed] - b[seed] for seed in sorted(a)], confidence)
    x, y = list(a.values()), list(b.values())
    mean, n = fmean(x) - fmean(y), min(len(x), len(y))
    if n < 2:
        return Interval(mean, None, None, n)
    if len(set(x)) == len(set(y)) == 1:  # Welch's degrees of freedom would be 0 / 0
        return Interval(mean, mean, mean, n)
    from scipy.stats import ttest_ind  # imported here, as above

    low, high = ttest_ind(x, y, equal_var=False).confidence_interval(confidence)
    return Interval(mean, float(low), float(high), n)
