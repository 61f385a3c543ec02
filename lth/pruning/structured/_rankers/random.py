"""Random scores: a control for the other rankers."""

import torch
from torch import nn

from lth.pruning.criterion import Batches
from lth.pruning.masks import Masks
from lth.pruning.seeds import generator
from lth.pruning.structured._rankers import UnitScores
from lth.pruning.structured.groups import UnitIndex
from lth.pruning.structured.units import count_units


def random(
    net: nn.Module, masks: Masks, unit_index: UnitIndex, batches: Batches | None = None, seed: int = 0
) -> UnitScores:
    """Uniform draws from `seed`, the same at every firing and on every device."""
    return {
        name: torch.rand(count_units(index), generator=generator("structure", seed, name), dtype=torch.float64)
        for name, index in unit_index.items()
    }
