"""Intervals over seeds: of a mean (within 0..1 for accuracies), and of the best series' lead over each other series."""

from collections.abc import Mapping, Sequence
from math import sqrt
from statistics import fmean, stdev

from lth.analysis.interval import Interval, of_difference, t_quantile

FEWEST = 3  # seeds for an interval; with fewer, their values are shown
CONFIDENCE = 0.95
METHOD = (
    "Intervals are 95 % t intervals on the logit scale (delta method), which stay within 0 to 100 %; from three seeds "
    "on. With fewer, or where all seeds have one value, the seeds are shown. Intervals leave out the error of the test "
    "set, which all runs share."
)
METHOD_OF_LOSS = "Intervals are 95 % t intervals, from three seeds on. With fewer, the seeds are shown."


def interval_of_mean(values: Sequence[float], fraction: bool) -> tuple[float, float] | None:
    """The 95 % interval of the mean; None with fewer than three values, and where all are equal.

    values: one per seed
    fraction: whether they are fractions, 0..1. Then the t interval is that of logit(mean), whose standard error is
        that of the mean over mean (1 - mean), so its ends lie within 0..1.
    """
    n = len(values)
    if n < FEWEST or len(set(values)) == 1:  # equal counts of few images: their spread says nothing
        return None
    mean, sd = fmean(values), stdev(values)
    half = t_quantile((1 + CONFIDENCE) / 2, n - 1) * sd / sqrt(n)
    if not (fraction and 0 < mean < 1):
        return mean - half, mean + half
    from scipy.special import expit, logit  # imported here: it takes a tenth of a second

    scale = mean * (1 - mean)
    return float(expit(logit(mean) - half / scale)), float(expit(logit(mean) + half / scale))


def compare(best: Mapping[int, float], other: Mapping[int, float], comparisons: int) -> tuple[str, Interval] | None:
    """Outcome, and the mean of `best` minus that of `other` with its own 95 % t interval.

    None where one has fewer than three seeds.

    best, other: seed -> value; paired where the seeds are the same, else Welch's
    comparisons: number of series with which the best is compared

    The outcome is `close` if the interval is not entirely above 0, `behind` if the interval at the Bonferroni-corrected
    confidence is entirely above 0 too (all comparisons together then hold at 95 %), and `probable` otherwise.
    """
    if min(len(best), len(other)) < FEWEST:
        return None
    alone = of_difference(best, other, CONFIDENCE)
    together = of_difference(best, other, 1 - (1 - CONFIDENCE) / max(1, comparisons))
    if alone.low is None or together.low is None or alone.low <= 0:
        return "close", alone
    return "behind" if together.low > 0 else "probable", alone
