"""When a rule of a schedule fires: in a window of epochs, or in the epochs of a list."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Firings:
    """The epochs (from 0), at whose start something happens, and how far along each of them is.

    A window has `begin`, `stop` (the first epoch after it) and `every`; a list has `at`. Raises ValueError for both,
    for neither, for a window without an epoch and for a list that does not rise.
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
        """The epochs in which it fires."""
        if self.at is not None:
            return list(self.at)
        assert self.stop is not None
        return list(range(self.begin or 0, self.stop, self.every or 1))

    def within(self, epoch: int) -> bool:
        """Whether `epoch` lies in the window, or between the first and the last of the list."""
        last = self.stop - 1 if self.stop is not None else self.epochs[-1]
        return self.epochs[0] <= epoch <= last

    def progress(self, epoch: int) -> float:
        """0 at the first firing, 1 at the last and at a single one; by epochs in a window, by number in a list."""
        epochs = self.epochs
        if len(epochs) == 1:
            return 1.0
        if self.at is not None:
            return epochs.index(epoch) / (len(epochs) - 1)
        return (epoch - epochs[0]) / (epochs[-1] - epochs[0])
