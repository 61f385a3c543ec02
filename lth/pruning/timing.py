"""When masks change within a level: after which optimizer steps, or at the start of which epochs.

Steps are completed optimizer steps, counted from 1; epochs are counted from 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass

_NEVER = 1 << 40  # steps; more than any level has


@dataclass(frozen=True)
class UpdateSteps:
    """The steps of drop-and-grow updates: multiples of `every` from `begin` up to, not including, `stop`.

    Raises ValueError if there is no such step.
    """

    every: int
    begin: int
    stop: int

    def __post_init__(self) -> None:
        if self.every < 1 or not any(self.due(t) for t in range(self.every, self.stop, self.every)):
            raise ValueError(f"no update every {self.every} steps falls between steps {self.begin} and {self.stop}")

    def due(self, step: int) -> bool:
        """Whether an update follows step `step`."""
        return step % self.every == 0 and self.begin <= step < self.stop

    def until(self, step: int) -> int:
        """Steps from `step` to the next multiple of `every` (0 if it is one); `_NEVER` if that is no update."""
        wait = -step % self.every
        return wait if self.due(step + wait) else _NEVER


@dataclass(frozen=True)
class PruningSteps:
    """The steps of gradual pruning: multiples of `every`, from `every * (begin // every)` to `every * (end // every)`.

    as_published: omit the last pruning, as GraNet's released code does (arXiv 2106.10404); the density then ends a
    little above the final one.
    Raises ValueError if there are fewer than two such steps.
    """

    every: int
    begin: int
    end: int
    as_published: bool = False

    def __post_init__(self) -> None:
        if self.every < 1 or self._last <= self._first:
            raise ValueError(f"no pruning every {self.every} steps falls between steps {self.begin} and {self.end}")

    @property
    def _first(self) -> int:
        return self.begin // self.every

    @property
    def _last(self) -> int:
        return self.end // self.every

    def due(self, step: int) -> bool:
        """Whether a pruning follows step `step`."""
        number = step // self.every
        return step % self.every == 0 and self._first <= number <= self._last - self.as_published

    def progress(self, step: int) -> float:
        """0 at the first pruning, 1 at the last."""
        return min(1.0, max(0.0, (step // self.every - self._first) / (self._last - self._first)))


@dataclass(frozen=True)
class Firings:
    """The epochs at whose start a rule acts: every few epochs of a window, or a list.

    Give either `begin`, `stop` and `every` or `at`.
      begin: first epoch of the window; None = 0
      stop: first epoch after the window
      every: epochs from one firing to the next; None = 1
      at: the epochs themselves, rising
    Raises ValueError if both or neither are given, for a window without epochs and for a list that does not rise.
    """

    begin: int | None = None
    stop: int | None = None
    every: int | None = None
    at: Sequence[int] | None = None

    def __post_init__(self) -> None:
        window = {"begin": self.begin, "stop": self.stop, "every": self.every}
        given = {key: value for key, value in window.items() if value is not None}
        if (self.at is None) == (not given):
            raise ValueError(f"give a window (begin, stop, every) or a list (at), not {given} and at={self.at}")
        if self.at is not None:
            if not self.at or list(self.at) != sorted(set(self.at)) or self.at[0] < 0:
                raise ValueError(f"the epochs at={list(self.at)} must rise, and not be negative")
        elif self.stop is None or self.every == 0 or (self.every or 1) < 0 or not 0 <= (self.begin or 0) < self.stop:
            raise ValueError(f"the window {given} holds no epoch: it needs 0 <= begin < stop and every >= 1")

    @property
    def epochs(self) -> list[int]:
        """The epochs of the firings."""
        if self.at is not None:
            return list(self.at)
        assert self.stop is not None
        return list(range(self.begin or 0, self.stop, self.every or 1))

    def within(self, epoch: int) -> bool:
        """Whether `epoch` lies in the window, or between the first and the last of the list."""
        last = self.stop - 1 if self.stop is not None else self.epochs[-1]
        return self.epochs[0] <= epoch <= last

    def progress(self, epoch: int) -> float:
        """0 at the first firing, 1 at the last (and at a single one).

        In between, the progress grows with the epoch in a window, and with the number of firings in a list.
        """
        epochs = self.epochs
        if len(epochs) == 1:
            return 1.0
        if self.at is not None:
            return epochs.index(epoch) / (len(epochs) - 1)
        return (epoch - epochs[0]) / (epochs[-1] - epochs[0])
