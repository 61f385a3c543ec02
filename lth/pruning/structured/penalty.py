"""Groups of weights that penalties drive to zero.

A term is a function from a network to a list of `PenaltyGroups`: `group_lasso.group_lasso` and `scales.scale_l1`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from lth.pruning.prunable import names_matching
from lth.pruning.structured.units import count_units


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
        """`removes`. Raises ValueError where it is unknown or not covered by `masks`."""
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


def strengths(layers: Iterable[LayerStrength], default: float, names: Sequence[str]) -> dict[str, float]:
    """Parameter name -> strength, in the order of `names`.

    Raises ValueError for a pattern that matches nothing, a name that two patterns match, a negative strength, and
    without any pattern.

    layers: patterns, or pairs of a pattern and its own strength
    default: strength of patterns without their own
    names: all parameters that may be penalised
    """
    found: dict[str, tuple[float, str]] = {}
    for layer in layers:
        pattern, strength = (layer, default) if isinstance(layer, str) else layer
        matched = names_matching(str(pattern), names)
        twice = sorted(matched & set(found))
        if not matched:
            raise ValueError(f"the pattern {pattern!r} matches nothing that can be penalised; there are {list(names)}")
        if twice:
            raise ValueError(f"{twice} are penalised twice, by {pattern!r} and by {found[twice[0]][1]!r}")
        if not float(strength) >= 0:
            raise ValueError(f"the strength {strength!r} of {pattern!r} is not a number of at least 0")
        found |= {name: (float(strength), str(pattern)) for name in matched}
    if not found:
        raise ValueError(f"no layers are given to penalise; there are {list(names)}")
    return {name: found[name][0] for name in names if name in found}


def unit_members(index: Tensor) -> Tensor:
    """Flat indices of the elements of every unit, units x elements. Raises ValueError for units of different sizes."""
    count = count_units(index)
    if index.numel() % count or torch.bincount(index.flatten()).unique().numel() != 1:
        raise ValueError(f"the {count} parts of a weight of {index.numel()} elements are not all of one size")
    return index.flatten().argsort(stable=True).view(count, -1)
