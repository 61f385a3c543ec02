"""Random scores: a control for the other criteria."""

import torch
from torch import nn

from lth.pruning.criterion import Batches, Scores
from lth.pruning.masks import Masks
from lth.pruning.seeds import generator


def random(net: nn.Module, masks: Masks, batches: Batches | None = None, *, seed: int = 0) -> Scores:
    """Uniform scores, equal on every device; each layer and each number of kept weights has its own draws."""
    kept = masks.kept
    return {
        name: torch.rand(m.shape, generator=generator("random", seed, name, kept)).to(m.device)
        for name, m in masks.items()
    }
