"""Arms timed in turn in one process, so that whatever slows the machine for a while slows all of them."""

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Arm:
    """One way to do a piece of work.

    turn: does the work once and returns the seconds it took, preparation excluded. work: how much one turn does, in
    the comparison's unit; a slow arm may do less. ops: dispatched operations of one training step, where counted.
    """

    name: str
    turn: Callable[[], float]
    work: float = 1.0
    ops: int | None = None


@dataclass(frozen=True)
class Comparison:
    """The first arm, lth's, against each of the others.

    unit: what `work` counts, for a rate such as images/s; null where the seconds of a turn say more.
    aim: what the first arm should reach, for the reader; nothing fails by it.
    """

    title: str
    arms: Sequence[Arm]
    unit: str | None = None
    aim: str = ""


@dataclass(frozen=True)
class Measured:
    """A comparison and the seconds that each arm, by name, took in each round: two turns' sum."""

    comparison: Comparison
    rounds: dict[str, list[float]]


def measure(comparison: Comparison, rounds: int, tell: Callable[[str], None] = lambda _: None) -> Measured:
    """Time every arm of `comparison` in `rounds` rounds, after one turn of each that is not counted.

    tell: is given a line about what happens now.
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
    """Take what is alive now, imported modules above all, out of the garbage collector's sight: each look at it takes
    up to a second."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def one_round(arms: Sequence[Arm]) -> dict[str, float]:
    """Every arm once and then once more in the reverse order (A B B A), so that a steady drift cancels out."""
    seconds = {arm.name: 0.0 for arm in arms}
    for arm in [*arms, *reversed(arms)]:
        gc.collect()  # an arm must not pay for the garbage of the one before
        seconds[arm.name] += arm.turn()
    return seconds
