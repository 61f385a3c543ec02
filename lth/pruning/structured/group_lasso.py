"""Group lasso: a penalty that drives whole units of a weight to zero (Wen et al. 2016, arXiv 1608.03665: SSL)."""

from collections.abc import Sequence

from torch import nn

from lth.pruning.prunable import prunable
from lth.pruning.structured._penalised import strengths, unit_members
from lth.pruning.structured.penalty import LayerStrength, PenaltyGroups
from lth.pruning.structured.units import Unit


def group_lasso(
    net: nn.Module, *, unit: Unit, layers: Sequence[LayerStrength], strength: float = 0.0
) -> list[PenaltyGroups]:
    """The groups of the penalty strength * sum over units of ||w_unit||_2, for prunable weights.

    Raises ValueError for a weight without the unit or with units of different sizes, and as `strengths` does.

    unit: how each weight is divided, see `units`
    layers: name patterns (`conv1`, `layer1.*.conv2`, `@first`, see `prunable`), or pairs of a pattern and its strength
    strength: lambda of patterns without their own
    """
    weights = prunable(net)
    groups = []
    for name, own in strengths(layers, strength, list(weights)).items():
        members = unit_members(unit(weights[name].shape)).to(weights[name].device)
        groups.append(PenaltyGroups(name, members, own, (name, members)))
    return groups
