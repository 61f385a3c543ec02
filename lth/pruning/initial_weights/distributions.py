"""Initial weights whose variance accounts for the mask, or that are moved towards orthogonality under it."""

import logging
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from lth.pruning.allocation import check_density
from lth.pruning.initial_weights._orthogonal import orthogonalise
from lth.pruning.masks import Masks
from lth.pruning.seeds import generator

log = logging.getLogger(__name__)
# (network, masks, seed): draws in place. Where the weights come from a ticket that has only the kept ones, the returned
# string names the missing file with the others.
InitialWeights = Callable[[nn.Module, Masks, int], str | None]


def as_drawn(net: nn.Module, masks: Masks, seed: int = 0) -> None:
    """Keep the network's own initialisation."""


def normal(net: nn.Module, masks: Masks, seed: int = 0) -> None:
    """N(0, 2 / (fan_in * layer density)): Kaiming for the fan-in of kept weights (arXiv 2210.02412)."""
    _draw(net, masks, seed, lambda shape, std, random: torch.randn(shape, generator=random) * std)


def uniform(net: nn.Module, masks: Masks, seed: int = 0) -> None:
    """Uniform in (-b, b) with the standard deviation of `normal`."""
    _draw(net, masks, seed, lambda shape, std, random: (2 * torch.rand(shape, generator=random) - 1) * std * 3**0.5)


def bimodal(net: nn.Module, masks: Masks, seed: int = 0, *, mu: float = 0.05) -> None:
    """+mu or -mu with probability one half each, plus the noise of `normal`."""

    def draw(shape: torch.Size, std: float, random: torch.Generator) -> Tensor:
        sign = torch.randint(0, 2, shape, generator=random) * 2 - 1
        return mu * sign + std * torch.randn(shape, generator=random)

    _draw(net, masks, seed, draw)


@torch.no_grad()
def scaled(net: nn.Module, masks: Masks, seed: int = 0) -> None:
    """N(0, 1 / (3 fan_in d)), with d the density of the whole network (arXiv 2202.02643)."""
    density = masks.density
    for name, weight in zip(masks, masks.weights(net), strict=True):
        std = 1 / math.sqrt(3 * _fan_in(weight) * density)
        draws = torch.randn(weight.shape, generator=generator("weights", seed, name)) * std
        weight.copy_(draws.to(weight) * masks[name])


@torch.no_grad()
def scale_fan(net: nn.Module, masks: Masks, seed: int = 0, *, density: float, as_published: bool = False) -> None:
    """Divide every prunable weight by sqrt(density), for the fan-in of the weights kept later (arXiv 1911.13299).

    density: fraction of the weights that are kept later, over 0 and at most 1
    as_published: divide by sqrt(1 - density), as the released code of arXiv 2202.12002 does, which treats its rate as
        the fraction removed
    """
    for weight in masks.weights(net):
        weight.div_(check_density(1 - density if as_published else density) ** 0.5)


def orthogonal(
    net: nn.Module, masks: Masks, seed: int = 0, *, steps: int = 1000, lr: float = 1e-2, tolerance: float = 1e-6
) -> None:
    """Move each layer's kept weights towards orthogonal rows (or columns, if fewer) by gradient descent.

    Source: arXiv 2210.02412. The residual is logged, since a sparse mask may admit no orthogonal matrix. A step costs
    about out * fan_in * min(out, fan_in) operations per layer.
      steps: largest number of gradient steps on ||A A^T - I||_F
      lr: learning rate
      tolerance: residual at which it stops
    """
    for name, weight in zip(masks, masks.weights(net), strict=True):
        repaired, before, after = orthogonalise(weight.detach(), masks[name], steps, lr, tolerance)
        with torch.no_grad():
            weight.copy_(repaired)
        log.info("orthogonal repair of %s: residual %.4g -> %.4g", name, before, after)


@torch.no_grad()
def _draw(
    net: nn.Module, masks: Masks, seed: int, draw: Callable[[torch.Size, float, torch.Generator], Tensor]
) -> None:
    """Draw every weight with standard deviation sqrt(2 / (fan_in * layer density)); an empty layer becomes zero."""
    for name, weight in zip(masks, masks.weights(net), strict=True):
        density = float(masks[name].sum()) / weight.numel()
        std = math.sqrt(2 / (_fan_in(weight) * density)) if density else 0.0
        weight.copy_(draw(weight.shape, std, generator("weights", seed, name)).to(weight) * masks[name])


def _fan_in(weight: Tensor) -> int:
    return weight[0].numel()
