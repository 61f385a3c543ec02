"""Density along a path from `start` (progress 0) to `end` (progress 1), exact at both ends and constant outside.

The caller defines progress. In gradual pruning, 0 is the first pruning and 1 the last.
"""

from collections.abc import Callable

Path = Callable[[float, float, float], float]  # progress, start, end -> density


def cubic(x: float, start: float, end: float) -> float:
    """end + (start - end) (1 - x)^3: most is pruned early (Zhu & Gupta 2017, arXiv 1710.01878)."""
    return end + (start - end) * (1 - _within(x)) ** 3


def linear(x: float, start: float, end: float) -> float:
    """end + (start - end) (1 - x)."""
    return end + (start - end) * (1 - _within(x))


def exponential(x: float, start: float, end: float) -> float:
    """start (end / start)^x: prunes the same fraction of the remaining weights per unit of progress."""
    return end if _within(x) == 1 else start * (end / start) ** _within(x)


def at_once(x: float, start: float, end: float) -> float:
    """`end` as soon as x > 0."""
    return end if x > 0 else start


def _within(x: float) -> float:
    return min(1.0, max(0.0, x))
