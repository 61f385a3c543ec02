"""Confidence intervals over seeds: Student's t on a mean, on paired differences, or Welch's on unpaired ones."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev, variance


@dataclass(frozen=True)
class Interval:
    """A mean and its confidence interval. low and high are None where one value says nothing of the spread."""

    mean: float
    low: float | None
    high: float | None
    n: int

    def __str__(self) -> str:
        """` [low, high]` in percentage points, for fractions; empty without a spread."""
        if self.low is None or self.high is None:
            return ""
        return f" [{100 * self.low:+.2f}, {100 * self.high:+.2f}]"


def of_mean(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """The mean of `values` with its t interval."""
    if not values:
        raise ValueError("an interval needs at least one value")
    mean, n = fmean(values), len(values)
    if n == 1:
        return Interval(mean, None, None, 1)
    half = _quantile(confidence, n - 1) * stdev(values) / math.sqrt(n)
    return Interval(mean, mean - half, mean + half, n)


def of_difference(a: Mapping[int, float], b: Mapping[int, float], confidence: float = 0.95) -> Interval:
    """The mean of a minus that of b, both by seed. Paired where both have the same seeds, else Welch's interval.

    Pairing removes what the seed alone does to a run, which is most of the noise between ticket and control.
    """
    if set(a) == set(b):
        return of_mean([a[seed] - b[seed] for seed in sorted(a)], confidence)
    x, y = list(a.values()), list(b.values())
    mean, n = fmean(x) - fmean(y), min(len(x), len(y))
    if n < 2:
        return Interval(mean, None, None, n)
    u, v = variance(x) / len(x), variance(y) / len(y)
    if u + v == 0:
        return Interval(mean, mean, mean, n)
    freedom = (u + v) ** 2 / (u**2 / (len(x) - 1) + v**2 / (len(y) - 1))
    half = _quantile(confidence, freedom) * math.sqrt(u + v)
    return Interval(mean, mean - half, mean + half, n)


def _quantile(confidence: float, freedom: float) -> float:
    from scipy.stats import t  # imported here: it takes half a second

    return float(t.ppf((1 + confidence) / 2, freedom))
