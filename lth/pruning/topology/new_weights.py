"""What a newly grown weight starts from. Values for the whole layer; those of new weights are used."""

from collections.abc import Callable

import torch
from torch import Tensor

from lth.pruning.topology.layer import Site

Initial = Callable[[Site], Tensor]


def zeros(site: Site) -> Tensor:
    """Zero: the function computed does not change (RigL, arXiv 1911.11134)."""
    return torch.zeros_like(site.weight)


def normal(site: Site, divisor: float = 1.0) -> Tensor:
    """Normal, with the standard deviation of the layer's kept weights over `divisor`."""
    return torch.randn(site.weight.shape, generator=site.random).to(site.weight) * _spread(site) / divisor


def uniform(site: Site, divisor: float = 1.0) -> Tensor:
    """Uniform and symmetric, with the standard deviation of the layer's kept weights over `divisor`."""
    return (2 * site.draw().to(site.weight) - 1) * 3**0.5 * _spread(site) / divisor


def gradient(site: Site, divisor: float = 1.0) -> Tensor:
    """The dense gradient over `divisor`."""
    return site.dense_gradient() / divisor


def gradient_sign(site: Site, divisor: float = 1.0) -> Tensor:
    """The sign of the dense gradient over `divisor`."""
    return site.dense_gradient().sign() / divisor


def _spread(site: Site) -> Tensor:
    kept = site.weight.detach()[site.kept]
    return kept.std() if len(kept) > 1 else torch.zeros((), device=site.weight.device)
