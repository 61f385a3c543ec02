"""The straight-through estimator over a whole network: two fused operations forward, one or two backward."""

from typing import Any

import torch
from torch import Tensor


class _StraightThrough(torch.autograd.Function):
    """weight * mask forward; backward, the mask's gradient goes to the score as if the mask were the score."""

    @staticmethod
    def forward(ctx: Any, masks: list[Tensor], weights: list[Tensor], signed: bool, *scores: Tensor) -> Any:
        ctx.weights, ctx.signed = weights, signed
        ctx.save_for_backward(*scores if signed else ())
        return tuple(torch._foreach_mul(weights, masks))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        toward = torch._foreach_mul(list(gradients), ctx.weights)
        if ctx.signed:
            torch._foreach_mul_(toward, torch._foreach_sign(list(ctx.saved_tensors)))
        return None, None, None, *toward


def straight_through(
    scores: list[Tensor], masks: list[Tensor], weights: list[Tensor], signed: bool = False
) -> tuple[Tensor, ...]:
    """weights * masks, with the gradient weight * dL/d(weight * mask) for every score, kept or not.

    `weights` are frozen, and zero where a weight may not be used: no gradient reaches such scores. signed: the mask
    depends on |score|, so that the gradient is multiplied by the score's sign (edge-popup, arXiv 1911.13299).
    """
    return _StraightThrough.apply(masks, weights, signed, *scores)
