"""Mean |w|: the L1 norm of a unit, divided by its number of elements."""

from torch import nn

from lth.pruning.criterion import Batches
from lth.pruning.masks import Masks
from lth.pruning.structured._rankers import UnitScores
from lth.pruning.structured._rankers._averages import mean_per_unit, weights_of
from lth.pruning.structured.groups import UnitIndex


def l1(
    net: nn.Module, masks: Masks, unit_index: UnitIndex, batches: Batches | None = None, seed: int = 0
) -> UnitScores:
    """Mean |w| of each unit (Li et al., ICLR 2017, arXiv 1608.08710)."""
    return {name: mean_per_unit(weight.abs(), unit_index[name]) for name, weight in weights_of(net, unit_index).items()}
