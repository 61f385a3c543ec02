"""Throughput of one arm relative to another, with its spread over rounds."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from benchmarks.interleave import Arm, Measured

DRAWS = 10_000


class Ratio(NamedTuple):
    """Throughput of one arm divided by another's; above 1 if the first is faster.

    median: of the ratios of all rounds
    low, high: bootstrap 95% interval of the median
    least, most: smallest and largest ratio of a round
    """

    median: float
    low: float
    high: float
    least: float
    most: float


def ratio_of(measured: Measured, subject: Arm, reference: Arm) -> Ratio:
    """Throughput of `subject` divided by that of `reference`."""
    speeds = [work_per_second(measured, arm) for arm in (subject, reference)]
    ratios = speeds[0] / speeds[1]
    low, high = median_interval(ratios)
    return Ratio(float(np.median(ratios)), low, high, float(ratios.min()), float(ratios.max()))


def work_per_second(measured: Measured, arm: Arm) -> np.ndarray:
    """Work per second of `arm` in each round."""
    return 2 * arm.work / np.array(measured.rounds[arm.name])


def median_interval(values: Sequence[float] | np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Percentile bootstrap interval of the median, with fixed random numbers.

    level: of confidence, 0..1

    With five rounds the interval is close to their range; more rounds narrow it.
    """
    draws = np.random.default_rng(0).choice(np.asarray(values), (DRAWS, len(values)))
    tail = (1 - level) / 2
    low, high = np.quantile(np.median(draws, axis=1), (tail, 1 - tail))
    return float(low), float(high)
