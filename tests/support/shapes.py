"""Scores of the shapes of networks, for allocations that look at nothing but shapes."""

import torch

from lth import networks
from lth.pruning import Masks

CIFAR = {"classes": 10, "channels": 3, "image_size": 32}


def zeros(factory, **options) -> dict[str, torch.Tensor]:
    """One tensor of zeros for each prunable weight of a network, by its name."""
    with torch.device("meta"):
        net = factory(**{**CIFAR, **options})
    return {name: torch.zeros(m.shape) for name, m in Masks.ones(net).items()}


R18, R20 = zeros(networks.resnet18), zeros(networks.resnet20)
