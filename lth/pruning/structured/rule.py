"""A rule of a schedule: which weights lose parts of which kind, by what ranking, to which density, and when."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

from torch import Tensor, nn

from lth.pruning.criterion import Batches
from lth.pruning.masks import Masks
from lth.pruning.paths import cubic
from lth.pruning.prunable import names_matching
from lth.pruning.restore import preserved
from lth.pruning.structured import activations, rankers
from lth.pruning.structured import units as units
from lth.pruning.structured.coupling import Coupled
from lth.pruning.structured.groups import Together, alone, led, under
from lth.pruning.structured.remove import remove
from lth.pruning.structured.thresholds import Moment, Pruner
from lth.pruning.timing import Firings

RANKERS: Mapping[str, rankers.Ranker] = {
    "l1": rankers.l1,
    "l2": rankers.l2,
    "random": rankers.random,
    "gradient": rankers.gradient,
    "apoz": activations.apoz,
    "mean_activation": activations.mean_activation,
}
UNITS: Mapping[str, units.Unit] = {
    name: getattr(units, name)
    for name in (
        *("elements", "outputs", "inputs", "filters", "channels", "kernels"),
        *("out_features", "in_features", "layer"),
    )
}
OUTPUTS = ("outputs", "filters", "out_features")  # what several layers may have in common
COUPLED = ("error", "complete", "ignore")
FOLDED = ("l1", "l2")


@dataclass(frozen=True)
class Rule:
    """WHAT: `names` (patterns as for prunable weights) without `exclude`; or `leader`, names that lose the parts of the
    first of them. unit: the parts (a name of `lth.pruning.structured.units` or a function). ranker: a name of `RANKERS`
    or a function; bn_fold: of weights into which batch norm is folded. start, end: densities of the parts at the first
    firing and at the last, 0..1, along AGP's cubic path (arXiv 1710.01878). group_size: parts go in multiples of it.
    rest: densities are of what is left at the first firing, as after thinning. coupled: what is done where layers
    share their outputs and only some are named: `error`, `complete` (all lose them) or `ignore` (each layer by itself).
    pruner: in place of unit, ranker and densities, a pruner of single weights (`lth.pruning.structured.thresholds`).

    WHEN: a window of epochs from `begin` before `stop`, every `every`, or the epochs `at`; minibatches: also after
    every so many optimizer steps within the window (for pruners).
    """

    names: Sequence[str] = ()
    exclude: Sequence[str] = ()
    leader: Sequence[str] = ()
    unit: str | units.Unit = "elements"
    ranker: str | rankers.Ranker = "l1"
    bn_fold: bool = False
    start: float = 1.0
    end: float | None = None
    group_size: int = 1
    rest: bool = False
    coupled: str = "error"
    pruner: Pruner | None = None
    begin: int | str | None = None
    stop: int | str | None = None
    every: int | None = None
    at: Sequence[int] | None = None
    minibatches: int | None = None

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> "Rule":
        """The rule that a configuration describes. Raises ValueError for keys no rule has."""
        valid = [field.name for field in fields(cls)]
        unknown = [key for key in options if key not in valid]
        if unknown:
            raise ValueError(f"a rule has no {unknown}; it has {valid}")
        return cls(**options)

    def __post_init__(self) -> None:
        if bool(self.names) == bool(self.leader):
            raise ValueError(f"give names={list(self.names)} or leader={list(self.leader)}, one of them")
        if self.coupled not in COUPLED:
            raise ValueError(f"coupled={self.coupled!r} is not one of {COUPLED}")
        if self.pruner is not None:
            if self.end is not None or self.leader:
                raise ValueError(f"a rule with a pruner has neither end={self.end} nor leader={list(self.leader)}")
            return
        if self.minibatches is not None:
            raise ValueError("minibatches is for pruners: a density falls from epoch to epoch")
        self._check_ranking()

    def _check_ranking(self) -> None:
        for what, name, valid in (("unit", self.unit, UNITS), ("ranker", self.ranker, RANKERS)):
            if isinstance(name, str) and name not in valid:
                raise ValueError(f"{what} {name!r} is not one of {list(valid)}")
        if self.end is None or not 0 <= self.end <= self.start <= 1:
            raise ValueError(f"densities must be fractions that do not rise, 1 >= start >= end >= 0: {self.densities}")
        if self.bn_fold and self.ranker not in FOLDED:
            raise ValueError(f"bn_fold goes with the rankers {FOLDED}, not with {self.ranker!r}")

    @property
    def densities(self) -> str:
        """As a person reads them."""
        return f"start={self.start}, end={self.end}"

    @property
    def joins(self) -> bool:
        """Whether layers that share outputs concern it."""
        return self.pruner is None and self.unit in OUTPUTS and self.coupled != "ignore"

    def firings(self, epochs: int) -> Firings:
        """When it fires in a level of `epochs` epochs, which "50%" is half of; a window without stop ends with it.
        Raises ValueError for a firing after the level's end."""
        begin, stop = (_epoch(point, epochs) for point in (self.begin, self.stop))
        given = any(value is not None for value in (self.begin, self.stop, self.every))
        stop = epochs if stop is None and given else stop
        firings = Firings(begin, stop, self.every, self.at)
        if firings.epochs[-1] >= epochs:
            raise ValueError(f"the firing in epoch {firings.epochs[-1]} comes after the level's {epochs} epochs")
        return firings

    def chosen(self, names: Sequence[str]) -> list[str]:
        """Those of `names` it is about, a leader's in the order given. Raises ValueError for patterns that match
        nothing, and for what is named twice."""
        patterns = list(self.leader or self.names)
        if len(set(patterns)) < len(patterns):
            raise ValueError(f"the rule names something twice: {patterns}")
        found: dict[str, None] = {}
        for pattern in patterns:
            found |= dict.fromkeys(name for name in names if name in _matching(pattern, names))
        left = {name for pattern in self.exclude for name in _matching(pattern, names)}
        chosen = [name for name in found if name not in left]
        if not chosen:
            raise ValueError(f"names={patterns} exclude={list(self.exclude)} leave nothing of {list(names)}")
        if self.pruner is not None:
            self.pruner.check(chosen)
        return chosen

    def groups(self, masks: Mapping[str, Tensor], sets: Sequence[Coupled] = ()) -> list[Together]:
        """What it removes parts of. sets: the network's, where layers that share outputs concern the rule."""
        names, shapes = self.chosen(list(masks)), {name: mask.shape for name, mask in masks.items()}
        divide = UNITS[self.unit] if isinstance(self.unit, str) else self.unit
        if not self.joins:
            return [led(names, shapes, divide)] if self.leader else [alone(n, shapes[n], divide) for n in names]
        for name in names:
            divide(shapes[name])  # filters of a matrix are refused
        touched = [own for own in sets if set(own.writers) & set(names)]
        for own in touched:
            self._check_whole(own, names, shapes)
        groups = [own.together(shapes) for own in touched]
        return [under(led(names, shapes, divide), groups)] if self.leader else groups

    def _check_whole(self, own: Coupled, names: Sequence[str], shapes: Mapping[str, Any]) -> None:
        missing = [name for name in own.writers if name not in names]
        if missing and self.coupled == "error":
            named = [name for name in own.writers if name in names]
            raise ValueError(
                f"{named} share their outputs with {missing}, which the rule does not name: name them too, or say "
                "coupled: complete (they lose the same) or coupled: ignore (nothing that others keep can be cut out)"
            )
        if not own.readers and not own.grouped:
            raise ValueError(f"the outputs of {list(own.writers)} are the network's own: leave them out (exclude)")
        foreign = [name for name in own.writers if name not in shapes]
        if foreign:
            raise ValueError(f"{foreign} share outputs with weights the rule names, but no mask covers them")

    def density(self, progress: float) -> float:
        """Of the parts, at a progress of 0..1 (AGP)."""
        assert self.end is not None
        return cubic(progress, self.start, self.end)

    def rank(self, net: nn.Module, masks: Masks, groups: Sequence[Together], batches: Batches | None, seed: int) -> Any:
        """One number for every part of every group; `net` is restored."""
        ranker = RANKERS[self.ranker] if isinstance(self.ranker, str) else self.ranker
        ranker = partial(rankers.folded, ranker=ranker) if self.bn_fold else ranker
        numbers = {name: own.to(masks[name].device) for group in groups for name, own in group.ranked.items()}
        with preserved(net):
            ranks = ranker(net, masks, numbers, batches, seed)
        return [rankers.together(ranks, group) for group in groups]

    def remove(
        self, masks: Masks, groups: Sequence[Together], scores: Sequence[Tensor], progress: float, gone: Sequence[int]
    ) -> Masks:
        """New masks at a progress of 0..1. gone: the parts of each group that do not count (see `rest`)."""
        new = masks.clone()
        sparsity = 1 - self.density(progress)
        for group, score, before in zip(groups, scores, gone, strict=True):
            changed = remove(new, group, score, sparsity, self.group_size, before if self.rest else 0)
            new.copy_(new.bools() | changed)
        return new

    def moment(self, epoch: int, firings: Firings) -> Moment:
        """Where in its window a pruner is."""
        epochs = firings.epochs
        return Moment(epoch, epochs[0], firings.stop or epochs[-1] + 1, self.every or 1)


def _matching(pattern: str, names: Sequence[str]) -> set[str]:
    found = names_matching(pattern, names)
    if not found:
        raise ValueError(f"pattern {pattern!r} matches no prunable weight; there are {list(names)}")
    return found


def _epoch(point: int | str | None, epochs: int) -> int | None:
    """An epoch's number, or a share of the level's epochs rounded up."""
    if isinstance(point, str) and point.endswith("%"):
        return max(1, -(-int(float(point[:-1]) * epochs) // 100)) if float(point[:-1]) else 0
    return None if point is None else int(point)
