"""Schedules of the drop fraction, as functions of x: steps taken divided by the step where the schedule ends, 0..1."""

import math
from collections.abc import Callable

Fraction = Callable[[float], float]  # progress -> fraction of kept weights that an update drops


def constant(x: float, *, start: float = 0.3) -> float:
    """`start` at every update (SET, arXiv 1707.04780)."""
    return start


def cosine(x: float, *, start: float = 0.3, end: float = 0.0) -> float:
    """Half a cosine from `start` to `end` (RigL, arXiv 1911.11134: .3 to 0; ITOP, arXiv 2102.02887: .5 to .005)."""
    return end + (start - end) * (1 + math.cos(math.pi * x)) / 2


def linear(x: float, *, start: float = 0.3, end: float = 0.0) -> float:
    """Linear from `start` to `end`."""
    return start + (end - start) * x


def exponential(x: float, *, start: float = 0.3, power: float = 3.0) -> float:
    """`start` * (1 - x)^power (RigL's third choice)."""
    return start * (1 - x) ** power
