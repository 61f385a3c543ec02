"""The state of a layer, as drop and grow functions receive it."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Layer:
    """One layer at a topology update. All tensors have the weight's shape.

    weight: the weights, pruned ones included
    kept: bool, the active weights
    gradient: dense gradient of the loss (at pruned weights too), averaged over ranks and accumulated batches; None if
        the memory keeps none
    allowed: bool, the positions at which weights may grow
    ever: bool, the positions that have been active at any time
    random: a CPU generator of this update and layer
    """

    weight: Tensor
    kept: Tensor
    gradient: Tensor | None
    allowed: Tensor
    ever: Tensor
    random: torch.Generator

    @property
    def active(self) -> int:
        """Number of kept weights."""
        return int(torch.count_nonzero(self.kept))

    @property
    def free(self) -> int:
        """Number of allowed positions without a kept weight."""
        return int(torch.count_nonzero(self.allowed & ~self.kept))

    def dense_gradient(self) -> Tensor:
        """The gradient. Raises ValueError if there is none."""
        if self.gradient is None:
            raise ValueError("drop, grow or new_weights needs the dense gradient, and there is none")
        return self.gradient

    def draw(self) -> Tensor:
        """Uniform numbers in [0, 1), the same on every device and rank."""
        return torch.rand(self.weight.shape, generator=self.random).to(self.weight.device)


Layers = dict[str, Layer]
