"""Regularisers of the scores: their sum over all layers, and its gradient in closed form. All are multiplied by lambda.

The gradient is added to the scores' gradients before clipping, which is what a term of the loss would do, at the cost
of one fused operation instead of a graph.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Tensors = Sequence[Tensor]


class Regulariser:
    """None: no penalty."""

    def value(self, scores: Tensors, weights: Tensors) -> Tensor | float:
        """The penalty, summed over every score, frozen ones included."""
        return 0.0

    def gradient(self, scores: Tensors, weights: Tensors) -> list[Tensor]:
        """Its derivative with respect to each score."""
        return [torch.zeros_like(s) for s in scores]


class L2(Regulariser):
    """sum s^2 (Gem-Miner, arXiv 2202.12002)."""

    def value(self, scores: Tensors, weights: Tensors) -> Tensor | float:
        return sum((s.square().sum() for s in scores), torch.zeros(()))

    def gradient(self, scores: Tensors, weights: Tensors) -> list[Tensor]:
        return torch._foreach_mul(list(scores), 2.0)


class L1(Regulariser):
    """sum |s|."""

    def value(self, scores: Tensors, weights: Tensors) -> Tensor | float:
        return sum((s.abs().sum() for s in scores), torch.zeros(()))

    def gradient(self, scores: Tensors, weights: Tensors) -> list[Tensor]:
        return torch._foreach_sign(list(scores))


class L1L2(Regulariser):
    """sum |s| + s^2."""

    def value(self, scores: Tensors, weights: Tensors) -> Tensor | float:
        return L1().value(scores, weights) + L2().value(scores, weights)

    def gradient(self, scores: Tensors, weights: Tensors) -> list[Tensor]:
        return torch._foreach_add(torch._foreach_sign(list(scores)), torch._foreach_mul(list(scores), 2.0))


@dataclass(frozen=True)
class Variance(Regulariser):
    """sum s^a (1 - s)^b, for scores in [0, 1]: small when every score is near 0 or 1."""

    a: float = 1.0
    b: float = 1.0

    def __post_init__(self) -> None:
        if min(self.a, self.b) < 1:
            raise ValueError(f"a {self.a} and b {self.b} must be 1 or more: the pull on a score at 0 or 1 is infinite")

    def value(self, scores: Tensors, weights: Tensors) -> Tensor | float:
        return sum(((s**self.a * (1 - s) ** self.b).sum() for s in scores), torch.zeros(()))

    def gradient(self, scores: Tensors, weights: Tensors) -> list[Tensor]:
        return [
            self.a * s ** (self.a - 1) * (1 - s) ** self.b - self.b * s**self.a * (1 - s) ** (self.b - 1)
            for s in scores
        ]


class WeightedVariance(Regulariser):
    """sum w^2 s (1 - s): the variance of the effective weights when scores are probabilities."""

    def value(self, scores: Tensors, weights: Tensors) -> Tensor | float:
        return sum(((w**2 * s * (1 - s)).sum() for s, w in zip(scores, weights, strict=True)), torch.zeros(()))

    def gradient(self, scores: Tensors, weights: Tensors) -> list[Tensor]:
        return [w**2 * (1 - 2 * s) for s, w in zip(scores, weights, strict=True)]


class Entropy(Regulariser):
    """sum of -s ln s - (1 - s) ln(1 - s) over 0 < s < 1."""

    def value(self, scores: Tensors, weights: Tensors) -> Tensor | float:
        return -sum((torch.xlogy(s, s) + torch.xlogy(1 - s, 1 - s)).sum() for s in scores)

    def gradient(self, scores: Tensors, weights: Tensors) -> list[Tensor]:
        return [torch.where((s > 0) & (s < 1), torch.log((1 - s) / s), 0.0) for s in scores]
