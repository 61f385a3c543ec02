"""The L2 norm of a unit, divided by its number of elements."""

import torch
from torch import nn

from lth.pruning.criterion import Batches
from lth.pruning.masks import Masks
from lth.pruning.structured._rankers import UnitScores
from lth.pruning.structured._rankers._averages import weights_of
from lth.pruning.structured.groups import UnitIndex
from lth.pruning.structured.units import sum_per_unit


def l2(
    net: nn.Module, masks: Masks, unit_index: UnitIndex, batches: Batches | None = None, seed: int = 0
) -> UnitScores:
    """L2 norm of each unit divided by its number of elements."""
    scores = {}
    for name, weight in weights_of(net, unit_index).items():
        sizes = sum_per_unit(torch.ones_like(weight), unit_index[name])
        scores[name] = sum_per_unit(weight.double() ** 2, unit_index[name]).sqrt() / sizes
    return scores
