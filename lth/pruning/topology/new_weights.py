"""Initial values of newly grown weights.

A function returns a tensor of the layer's shape. Only its entries at the new weights are used.

Standard deviations are those of the weights kept before the update, in which the dropped ones are zero already.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from lth.pruning.topology.layer import Layer

NewWeight = Callable[[Layer], Tensor]


def zeros(layer: Layer) -> Tensor:
    """Zero, so that the network computes the same function (RigL, arXiv 1911.11134)."""
    return torch.zeros_like(layer.weight)


def normal(layer: Layer, divisor: float = 1.0) -> Tensor:
    """Normal, with the standard deviation of the layer's kept weights divided by `divisor`."""
    return torch.randn(layer.weight.shape, generator=layer.random).to(layer.weight) * _spread(layer) / divisor


def uniform(layer: Layer, divisor: float = 1.0) -> Tensor:
    """Uniform around 0, with the standard deviation of the layer's kept weights divided by `divisor`."""
    return (2 * layer.draw().to(layer.weight) - 1) * 3**0.5 * _spread(layer) / divisor


def gradient(layer: Layer, divisor: float = 1.0) -> Tensor:
    """The dense gradient divided by `divisor`. Raises ValueError where no gradient is kept (`Memory`)."""
    return layer.dense_gradient() / divisor


def gradient_sign(layer: Layer, divisor: float = 1.0) -> Tensor:
    """The sign of the dense gradient, divided by `divisor`. Raises ValueError where no gradient is kept (`Memory`)."""
    return layer.dense_gradient().sign() / divisor


def _spread(layer: Layer) -> Tensor:
    kept = layer.weight.detach()[layer.kept]
    return kept.std() if len(kept) > 1 else torch.zeros((), device=layer.weight.device)
