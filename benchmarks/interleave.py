"""Alternate timing of several arms in one process, so that a slow phase of the machine affects all of them."""

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Arm:
    """One implementation of the work.

    turn: does the work once and returns its seconds, without preparation
    work: amount of work in one turn, in the comparison's unit; a slow arm may do less
    ops: dispatched operations of one training step; None if not counted
    """

    name: str
    turn: Callable[[], float]
    work: float = 1.0
    ops: int | None = None


@dataclass(frozen=True)
class Comparison:
    """The first arm, which is lth's, compared with each of the others.

    unit: of the rate, such as images/s; None to report the seconds of a turn
    aim: target of the first arm, for the reader only
    """

    title: str
    arms: Sequence[Arm]
    unit: str | None = None
    aim: str = ""


@dataclass(frozen=True)
class Measured:
    """A measured comparison.

    rounds: name of the arm -> seconds of each round, the sum of two turns
    """

    comparison: Comparison
    rounds: dict[str, list[float]]


def measure(comparison: Comparison, rounds: int, tell: Callable[[str], None] = lambda _: None) -> Measured:
    """Time every arm in `rounds` rounds, after one warm-up turn of each.

    tell: called with a line of text about the progress
    """
    if rounds < 1:
        raise ValueError(f"rounds {rounds} must be 1 or more")
    seconds: dict[str, list[float]] = {arm.name: [] for arm in comparison.arms}
    assert len(seconds) == len(comparison.arms), "two arms of one name"
    for arm in comparison.arms:
        tell(f"{comparison.title}: warming up {arm.name}")
        arm.turn()
    with little_to_collect():
        for number in range(1, rounds + 1):
            tell(f"{comparison.title}: round {number} of {rounds}")
            for name, took in one_round(comparison.arms).items():
                seconds[name].append(took)
    return Measured(comparison, seconds)


@contextmanager
def little_to_collect() -> Iterator[None]:
    """Exclude all existing objects, mostly imported modules, from garbage collection, which takes up to a second."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def one_round(arms: Sequence[Arm]) -> dict[str, float]:
    """Run every arm once, and again in reverse order (A B B A), which cancels a linear drift."""
    seconds = {arm.name: 0.0 for arm in arms}
    for arm in [*arms, *reversed(arms)]:
        gc.collect()  # collect the garbage of the arm before outside the timing
        seconds[arm.name] += arm.turn()
    return seconds
