"""Paths of the density within a level: pure functions of progress 0..1, exact at both ends."""

from collections.abc import Callable

Path = Callable[[float, float, float], float]  # progress, start, end -> density


def cubic(x: float, start: float, end: float) -> float:
    """end + (start - end) (1 - x)^3: fast while much is left (Zhu & Gupta 2017, arXiv 1710.01878)."""
    return end + (start - end) * (1 - _within(x)) ** 3


def linear(x: float, start: float, end: float) -> float:
    """Straight from start to end."""
    return end + (start - end) * (1 - _within(x))


def exponential(x: float, start: float, end: float) -> float:
    """The same fraction of what is left at every moment."""
    return end if _within(x) == 1 else start * (end / start) ** _within(x)


def at_once(x: float, start: float, end: float) -> float:
    """Everything at the first moment."""
    return end if x > 0 else start


def _within(x: float) -> float:
    return min(1.0, max(0.0, x))
