"""The straight-through estimator for all layers at once, by a few fused operations."""

from typing import Any

import torch
from torch import Tensor


class _StraightThrough(torch.autograd.Function):
    """weight * mask forward; backward, the score gets the gradient of the mask."""

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
    """weights * masks, where every score gets the gradient weight * dL/d(weight * mask), whatever its mask.

    scores: differentiable, one tensor for each layer
    masks: made of the scores
    weights: frozen, and zero where a weight is not allowed, so that no gradient reaches its score
    signed: whether masks depend on |score|; gradients are then multiplied by the score's sign (edge-popup,
        arXiv 1911.13299)
    """
    return _StraightThrough.apply(masks, weights, signed, *scores)
