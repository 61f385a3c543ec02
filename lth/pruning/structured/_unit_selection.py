"""The selection of a rule: which weights it prunes, in which units, and what coupled layers add to them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lth.pruning.prunable import names_matching
from lth.pruning.structured import units
from lth.pruning.structured.coupling import CoupledLayers
from lth.pruning.structured.groups import PruningGroup

_OUTPUTS = ("outputs", "filters", "out_features")  # the units that coupled layers share
_COUPLED = ("error", "complete", "ignore")


@dataclass(frozen=True)
class UnitSelection:
    """The weights of a rule and their units. Raises ValueError for contradictory or unknown settings.

    names: patterns of weight names, see `lth.pruning.prunable`
    exclude: patterns of weight names that are left out of `names` or `leader`
    leader: in place of `names`: patterns of weights that all lose the units which the first weight loses
    unit: a name of `lth.pruning.structured.units`, or a function of the type `Unit`
    coupled: if layers share their outputs and only some are named: `error`, `complete` (all of them are pruned) or
        `ignore` (each layer is pruned by itself)
    """

    names: Sequence[str] = ()
    exclude: Sequence[str] = ()
    leader: Sequence[str] = ()
    unit: str | units.Unit = "elements"
    coupled: str = "error"

    def __post_init__(self) -> None:
        if bool(self.names) == bool(self.leader):
            raise ValueError(f"give names={list(self.names)} or leader={list(self.leader)}, one of them")
        if self.coupled not in _COUPLED:
            raise ValueError(f"coupled={self.coupled!r} is not one of {_COUPLED}")
        if isinstance(self.unit, str) and self.unit not in units.BY_NAME:
            raise ValueError(f"unit {self.unit!r} is not one of {list(units.BY_NAME)}")

    @property
    def needs_coupling(self) -> bool:
        """Whether the groups depend on which layers are coupled."""
        return self.unit in _OUTPUTS and self.coupled != "ignore"

    def weights(self, names: Sequence[str]) -> list[str]:
        """The selected weights, in the order of the patterns.

        Raises ValueError for a pattern that matches nothing or is given twice, and if nothing is left.

        names: names of all prunable weights, in the order of the network
        """
        patterns = list(self.leader or self.names)
        if len(set(patterns)) < len(patterns):
            raise ValueError(f"the rule names something twice: {patterns}")
        found: dict[str, None] = {}
        for pattern in patterns:
            found |= dict.fromkeys(name for name in names if name in _matching(pattern, names))
        excluded = {name for pattern in self.exclude for name in _matching(pattern, names)}
        selected = [name for name in found if name not in excluded]
        if not selected:
            raise ValueError(f"names={patterns} exclude={list(self.exclude)} leave nothing of {list(names)}")
        return selected

    def groups(self, masks: Mapping[str, Tensor], coupled: Sequence[CoupledLayers] = ()) -> list[PruningGroup]:
        """The pruning groups of the selected weights.

        Raises ValueError where a weight does not have the unit, where a coupled layer is missing from the selection
        (see the argument `coupled` of the class) or has no mask, and for the outputs of the network.

        coupled: all sets of coupled layers of the network; read only if `needs_coupling`
        """
        names, shapes = self.weights(list(masks)), {name: mask.shape for name, mask in masks.items()}
        unit = units.BY_NAME[self.unit] if isinstance(self.unit, str) else self.unit
        if not self.needs_coupling:
            if self.leader:
                return [leader_group(names, shapes, unit)]
            return [single_group(name, shapes[name], unit) for name in names]
        for name in names:
            unit(shapes[name])  # raises ValueError for, say, filters of a linear layer
        touched = [layers for layers in coupled if set(layers.producers) & set(names)]
        for layers in touched:
            self._check_coupled(layers, names, shapes)
        groups = [layers.pruning_group(shapes) for layers in touched]
        return [extend_leader(leader_group(names, shapes, unit), groups)] if self.leader else groups

    def _check_coupled(self, layers: CoupledLayers, names: Sequence[str], shapes: Mapping[str, torch.Size]) -> None:
        missing = [name for name in layers.producers if name not in names]
        if missing and self.coupled == "error":
            named = [name for name in layers.producers if name in names]
            raise ValueError(
                f"{named} share their outputs with {missing}, which the rule does not name. Name them too, or set "
                "coupled: complete (they lose the same outputs) or coupled: ignore (outputs that another layer keeps "
                "cannot be cut out)"
            )
        if layers.is_network_output:
            raise ValueError(f"the outputs of {list(layers.producers)} are the network's own: leave them out (exclude)")
        unmasked = [name for name in layers.producers if name not in shapes]
        if unmasked:
            raise ValueError(f"{unmasked} share outputs with weights the rule names, but no mask covers them")


def _matching(pattern: str, names: Sequence[str]) -> set[str]:
    found = names_matching(pattern, names)
    if not found:
        raise ValueError(f"pattern {pattern!r} matches no prunable weight; there are {list(names)}")
    return found


def single_group(name: str, shape: Sequence[int], unit: units.Unit) -> PruningGroup:
    """The units of one weight that is coupled to no other."""
    index = unit(shape)
    return PruningGroup(units.count_units(index), {name: index})


def leader_group(names: Sequence[str], shapes: Mapping[str, Sequence[int]], unit: units.Unit) -> PruningGroup:
    """The weights `names`, of which only the first (the leader) is ranked; the others lose the same units.

    Raises ValueError where the weights have different numbers of units.
    """
    leader, *rest = names
    indices = {name: unit(shapes[name]) for name in names}
    counts = {name: units.count_units(index) for name, index in indices.items()}
    if len(set(counts.values())) > 1:
        raise ValueError(f"the weights of a leader group must have equally many units: {counts}")
    return PruningGroup(counts[leader], {leader: indices[leader]}, [(name, indices[name]) for name in rest])


def extend_leader(group: PruningGroup, coupled: Sequence[PruningGroup]) -> PruningGroup:
    """The leader group `group`, with the weights of the groups `coupled` as further dependents.

    Raises ValueError for a coupled weight whose outputs are permuted or concatenated: unit i must be output i.
    """
    dependents = list(group.dependents)
    for other in coupled:
        for name, index in other.ranked.items():
            outputs = torch.arange(len(index)).view(-1, *[1] * (index.dim() - 1)).expand_as(index)
            if not torch.equal(index, outputs):
                raise ValueError(f"{name} cannot follow a leader: its outputs are permuted or concatenated")
            dependents.append((name, index))
        dependents += other.dependents
    return PruningGroup(group.n_units, group.ranked, dependents)
