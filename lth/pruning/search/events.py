"""When the events of a search happen, and which density each leads to (Gem-Miner, arXiv 2202.12002)."""

import math
from dataclasses import dataclass

from lth.pruning import paths
from lth.pruning.allocation import count_kept

# Values of the option `shape`.
_SHAPES: dict[str, paths.Path] = {
    "geometric": paths.exponential,
    "linear": paths.linear,
    "cubic": paths.cubic,
    "one_shot": paths.at_once,
}


@dataclass(frozen=True)
class EventSchedule:
    """The events of a search. Event k happens at the end of epoch k * `period`, epochs counted from 0.

    With `until` = 1 there are floor((epochs - 1) / period) events.

    epochs: length of the search
    period: epochs between two events, at least 1
    start: density before the first event, 0..1
    end: density after the last event, 0..1
    until: fraction of the epochs after which no event happens; 1 as published, less leaves epochs to recover
    shape: path of the density over the events: geometric (as published), linear, cubic or one_shot

    Raises ValueError for values out of range, and when no event happens although the density has to fall.
    """

    epochs: int
    period: int
    start: float
    end: float
    until: float = 1.0
    shape: str = "geometric"

    def __post_init__(self) -> None:
        if self.period < 1:
            raise ValueError(f"method.period={self.period}: must be 1 epoch or more")
        if not 0 < self.until <= 1:
            raise ValueError(f"method.until={self.until}: must be over 0 and at most 1")
        if self.shape not in _SHAPES:
            raise ValueError(f"method.shape={self.shape!r} is not one of {tuple(_SHAPES)}")
        if self.total < 1 and self.end < self.start:
            raise ValueError(
                f"a search of {self.epochs} epochs has no event every {self.period} epochs, so nothing would freeze: "
                "set method.period lower or recipe.epochs higher"
            )

    @property
    def total(self) -> int:
        """Number of events."""
        return max(0, (math.floor(self.epochs * self.until + 1e-9) - 1) // self.period)

    def done(self, completed: int) -> int:
        """Number of events that have happened after `completed` epochs."""
        return min(self.total, max(0, completed - 1) // self.period)

    def density(self, event: int) -> float:
        """Density after event number `event` (1-based); exactly `start` before the first and `end` after the last."""
        if event <= 0 or event >= self.total:
            return self.start if event <= 0 else self.end
        return _SHAPES[self.shape](event / self.total, self.start, self.end)

    def left(self, active: int, event: int, total: int) -> int:
        """How many of `active` weights event number `event` leaves, in a network of `total` prunable weights.

        The geometric shape freezes ceil(r * active) weights, r = 1 - (end / start)^(1 / n) with n events, as published.
        Other shapes leave the count of the path's density.
        """
        if self.shape != "geometric":
            return min(active, count_kept(self.density(event), total))
        r = 1 - (self.end / self.start) ** (1 / self.total)
        return active - math.ceil(r * active - 1e-9)


@dataclass(frozen=True)
class EventOptions:
    """The options of `method` that say when events happen.

    period: epochs between two events (5 or "5ep"), or percent of the search ("3.3%", at least one epoch); None = no
        events
    until, shape: as in `EventSchedule`
    """

    period: int | str | None = None
    until: float = 1.0
    shape: str = "geometric"

    def schedule(self, epochs: int, start: float, end: float) -> EventSchedule | None:
        """The events of a search of `epochs` epochs from density `start` to density `end`."""
        if self.period is None:
            return None
        return EventSchedule(epochs, _in_epochs(self.period, epochs), start, end, self.until, self.shape)


def _in_epochs(period: int | str, epochs: int) -> int:
    """`period` as a number of epochs; a percentage is of `epochs`, rounded, at least one."""
    text = str(period)
    number = text.removesuffix("%").removesuffix("ep")
    try:
        return max(1, round(float(number) * epochs / 100)) if text.endswith("%") else int(number)
    except ValueError:
        raise ValueError(f"method.period={period!r}: must be a number of epochs, or percent of the search") from None
