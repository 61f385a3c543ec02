"""Initial weights scaled to the fan-in that a mask will leave."""

import torch
from torch import nn

from lth.pruning.allocation import check_density
from lth.pruning.masks import Masks


@torch.no_grad()
def scale_fan(net: nn.Module, masks: Masks, seed: int = 0, *, density: float) -> None:
    """Divide every prunable weight by sqrt(density): the fan-in counts kept weights only (arXiv 1911.13299)."""
    for weight in masks.weights(net):
        weight.div_(check_density(density) ** 0.5)
