"""A rule of a pruning schedule: a selection of units, their ranking, the path of their density, and the timing."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from lth.pruning.structured._removal import Removal
from lth.pruning.structured._unit_ranking import UnitRanking
from lth.pruning.structured._unit_selection import UnitSelection
from lth.pruning.structured.thresholds import EpochInWindow, Pruner
from lth.pruning.timing import Firings


@dataclass(frozen=True)
class _RuleTiming:
    """When a rule fires: in a window of epochs, or at the epochs of a list.

    begin: first epoch of the window, or a share of the level such as "50%"; None = 0
    stop: first epoch after the window, or a share; None = the end of the level
    every: number of epochs between two firings in the window; None = 1
    at: list of epochs, in place of a window
    minibatches: number of optimizer steps between further firings within the window (element pruners only)
    """

    begin: int | str | None = None
    stop: int | str | None = None
    every: int | None = None
    at: Sequence[int] | None = None
    minibatches: int | None = None

    def firings(self, epochs: int) -> Firings:
        """The firings in a level of `epochs` epochs. Raises ValueError for a firing after the end of the level."""
        begin, stop = (_epoch(point, epochs) for point in (self.begin, self.stop))
        has_window = any(value is not None for value in (self.begin, self.stop, self.every))
        stop = epochs if stop is None and has_window else stop
        firings = Firings(begin, stop, self.every, self.at)
        if firings.epochs[-1] >= epochs:
            raise ValueError(f"the firing in epoch {firings.epochs[-1]} comes after the level's {epochs} epochs")
        return firings

    def position(self, epoch: int, firings: Firings) -> EpochInWindow:
        """Where `epoch` lies in the window of `firings`."""
        epochs = firings.epochs
        return EpochInWindow(epoch, epochs[0], firings.stop or epochs[-1] + 1, self.every or 1)


@dataclass(frozen=True)
class ScheduleRule:
    """A rule that prunes units by rank (`removal`) or single weights by a threshold (`pruner`)."""

    selection: UnitSelection
    ranking: UnitRanking
    timing: _RuleTiming
    removal: Removal | None = None
    pruner: Pruner | None = None

    @classmethod
    def of(cls, **options: Any) -> "ScheduleRule":
        """The rule with the options of a configuration: the fields of its parts, and `pruner`.

        A pruner takes the place of unit, ranking and densities. Raises ValueError for unknown options, for `end` or
        `leader` beside a pruner, for `minibatches` without one, and for values that the parts refuse.
        """
        kinds: dict[str, Any] = {"selection": UnitSelection, "ranking": UnitRanking, "timing": _RuleTiming}
        keys = {name: [field.name for field in fields(kind)] for name, kind in (*kinds.items(), ("removal", Removal))}
        valid = [*(key for group in keys.values() for key in group), "pruner"]
        unknown = [key for key in options if key not in valid]
        if unknown:
            raise ValueError(f"a rule has no {unknown}; it has {valid}")
        given = {name: {key: options[key] for key in group if key in options} for name, group in keys.items()}
        parts = {name: kind(**given[name]) for name, kind in kinds.items()}
        pruner, end, leader = options.get("pruner"), options.get("end"), list(options.get("leader") or ())
        if pruner is not None and (end is not None or leader):
            raise ValueError(f"a rule with a pruner has neither end={end} nor leader={leader}")
        if pruner is None and parts["timing"].minibatches is not None:
            raise ValueError("minibatches is for pruners: a density falls from epoch to epoch")
        return cls(**parts, removal=None if pruner is not None else Removal(**given["removal"]), pruner=pruner)

    @property
    def needs_coupling(self) -> bool:
        """Whether the rule must know which layers are coupled."""
        return self.removal is not None and self.selection.needs_coupling

    def weights(self, names: Sequence[str]) -> list[str]:
        """The weights it prunes, see `UnitSelection.weights`; also checks the pruner's settings for these weights."""
        selected = self.selection.weights(names)
        if self.pruner is not None:
            self.pruner.check(selected)
        return selected


def _epoch(point: int | str | None, epochs: int) -> int | None:
    """An epoch's number; a share such as "50%" of the level's epochs is rounded up."""
    if isinstance(point, str) and point.endswith("%"):
        return max(1, -(-int(float(point[:-1]) * epochs) // 100)) if float(point[:-1]) else 0
    return None if point is None else int(point)
