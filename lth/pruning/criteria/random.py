"""Random scores: the control every criterion must beat."""

import torch
from torch import nn

from lth.pruning.criterion import Batches, Scores
from lth.pruning.masks import Masks
from lth.pruning.seeds import generator


def random(net: nn.Module, masks: Masks, batches: Batches | None = None, *, seed: int = 0) -> Scores:
    """Uniform scores, drawn afresh for every layer and every number of kept weights; the same on every device."""
    kept = masks.kept
    return {
        name: torch.rand(m.shape, generator=generator("random", seed, name, kept)).to(m.device)
        for name, m in masks.items()
    }
