"""When masks change within a level. Steps are completed optimizer steps, counted from 1."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Moves:
    """Updates at every `every`-th step from `begin` up to, not including, `stop` (drop and grow)."""

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
        """Steps from `step` to the next update; a number beyond every level when there is none."""
        wait = -step % self.every
        return wait if self.due(step + wait) else 1 << 40

    def progress(self, step: int) -> float:
        """0 at the level's start, 1 at `stop`."""
        return min(1.0, step / self.stop)


@dataclass(frozen=True)
class Prunings:
    """Prunings at every `every`-th step, the first at or after `begin`, the last at or before `end` (gradual pruning).

    as_published: stop one update before the last, as GraNet's released code does (arXiv 2106.10404), and so a little
    above the final density.
    """

    every: int
    begin: int
    end: int
    as_published: bool = False

    def __post_init__(self) -> None:
        if self.every < 1 or self.last <= self.first:
            raise ValueError(f"no pruning every {self.every} steps falls between steps {self.begin} and {self.end}")

    @property
    def first(self) -> int:
        """Number of the update at which progress is 0."""
        return self.begin // self.every

    @property
    def last(self) -> int:
        """Number of the update at which progress is 1."""
        return self.end // self.every

    def due(self, step: int) -> bool:
        """Whether a pruning follows step `step`."""
        number = step // self.every
        return step % self.every == 0 and self.first <= number <= self.last - self.as_published

    def progress(self, step: int) -> float:
        """0 at the first, 1 at the last."""
        return min(1.0, max(0.0, (step // self.every - self.first) / (self.last - self.first)))
