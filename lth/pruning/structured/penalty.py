"""Groups of weights that penalties drive to zero.

A term is a function from a network to a list of `PenaltyGroups`: `group_lasso.group_lasso` and `scales.scale_l1`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor, nn


@dataclass(frozen=True)
class PenaltyGroups:
    """The penalised groups of one parameter.

    parameter: name of the parameter
    members: flat indices into the parameter, groups x elements of a group
    strength: lambda, the factor of the groups' norms
    removes: name of the weight that loses elements when a group is removed (`parameter` itself or another), and their
        flat indices, groups x elements; None if that weight is unknown
    """

    parameter: str
    members: Tensor
    strength: float
    removes: tuple[str, Tensor] | None

    def masked(self, masks: Mapping[str, Tensor]) -> tuple[str, Tensor]:
        """The weight that loses elements with a group, and their indices: `removes`.

        Raises ValueError if that weight is unknown or `masks` do not cover it.
        """
        if self.removes is None:
            raise ValueError(
                f"which weights the groups of {self.parameter} belong to cannot be told: no threshold there"
            )
        if self.removes[0] not in masks:
            raise ValueError(f"{self.removes[0]} is not prunable here and cannot be masked; prunable are {list(masks)}")
        return self.removes

    def moved(self, move: Callable[[Tensor], Tensor]) -> "PenaltyGroups":
        """The groups with `move` applied to their index tensors, for a network that moves to another device."""
        removes = self.removes and (self.removes[0], move(self.removes[1]))
        return replace(self, members=move(self.members), removes=removes)


PenaltyTerm = Callable[[nn.Module], list[PenaltyGroups]]
LayerStrength = str | Sequence[str | float]  # a name pattern, or a pair of a pattern and the strength there
