"""Pruning groups: units that one weight has, or that several coupled weights share, and that are pruned together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

UnitIndex = Mapping[str, Tensor]  # weight name -> unit index of every element (see `units`)


@dataclass(frozen=True)
class PruningGroup:
    """`n_units` units that are kept or removed in all weights of the group at once.

    n_units: number of units
    ranked: weight name -> unit index, for the weights whose scores decide which units are removed
    dependents: (weight name, unit index) of further weights that lose elements with a unit, such as the inputs of the
        next layer; -1 = elements of no unit. A weight may occur several times.
    """

    n_units: int
    ranked: UnitIndex
    dependents: Sequence[tuple[str, Tensor]] = field(default=())

    @property
    def name(self) -> str:
        """The name of the first ranked weight, used as the name of the group."""
        return next(iter(self.ranked))

    def removed(self, masks: Mapping[str, Tensor]) -> Tensor:
        """Bool per unit: True where `masks` keep no element of the unit in any ranked weight."""
        alive = torch.zeros(self.n_units, dtype=torch.bool, device=masks[self.name].device)
        for name, index in self.ranked.items():
            alive[index.to(alive.device)[masks[name].bool()]] = True
        return ~alive

    def keep_only(self, masks: Mapping[str, Tensor], kept: Tensor) -> dict[str, Tensor]:
        """New bool masks of the group's weights, without the units where `kept` (bool per unit) is False.

        Weights of the group that `masks` do not cover are left out.
        """
        changed: dict[str, Tensor] = {}
        for name, index in (*self.ranked.items(), *self.dependents):
            if name in masks:
                index = index.to(kept.device)
                stays = kept[index.clamp_min(0)] | (index < 0)
                changed[name] = changed.get(name, masks[name].bool()) & stays
        return changed
