"""Sharpness-aware minimisation (Foret et al. 2021, arXiv 2010.01412), by pytorch_optimizer."""

from collections.abc import Callable
from typing import Any

import torch

try:
    import pytorch_optimizer
except ImportError as error:
    raise ImportError("recipe/optimizer=sam needs pytorch_optimizer: pip install 'lth[optimizers]'") from error


class SAM(pytorch_optimizer.SAM):
    """Steps by the gradient at w + rho g / |g|, where g is the gradient at w; `base_optimizer` makes the step.

    g comes masked, so that pruned weights are zero at both points and add nothing to |g|.
    """

    passes = 2  # over each batch

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step. closure: clears gradients, computes loss and gradients anew; called at both points."""
        if closure is None:
            raise TypeError("SAM takes the gradient at two points of a step: it needs a closure")
        with torch.enable_grad():
            loss = closure()
        super().step(closure)
        return loss
