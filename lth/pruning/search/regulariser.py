"""Regularisers of the scores: sums over all scores, given by their gradients in closed form.

The gradient is added to the scores' gradients before clipping. This is equivalent to a term of the loss, and costs one
fused operation instead of a graph.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


class Regulariser:
    """No regularisation."""

    def gradient(self, scores: Sequence[Tensor], weights: Sequence[Tensor]) -> list[Tensor]:
        """The derivative of the penalty with respect to each score, also for scores of excluded weights.

        weights: frozen weights of the network, one tensor for each tensor of `scores`
        """
        return [torch.zeros_like(s) for s in scores]


class L2(Regulariser):
    """sum s^2 (Gem-Miner, arXiv 2202.12002)."""

    def gradient(self, scores: Sequence[Tensor], weights: Sequence[Tensor]) -> list[Tensor]:
        return torch._foreach_mul(list(scores), 2.0)


class L1(Regulariser):
    """sum |s|."""

    def gradient(self, scores: Sequence[Tensor], weights: Sequence[Tensor]) -> list[Tensor]:
        return torch._foreach_sign(list(scores))


class L1L2(Regulariser):
    """sum |s| + s^2."""

    def gradient(self, scores: Sequence[Tensor], weights: Sequence[Tensor]) -> list[Tensor]:
        return torch._foreach_add(torch._foreach_sign(list(scores)), torch._foreach_mul(list(scores), 2.0))


@dataclass(frozen=True)
class Variance(Regulariser):
    """sum s^a (1 - s)^b, for scores in [0, 1]: small when every score is near 0 or 1.

    a, b: exponents, at least 1; below 1 the gradient at 0 or 1 would be infinite
    """

    a: float = 1.0
    b: float = 1.0

    def __post_init__(self) -> None:
        if min(self.a, self.b) < 1:
            raise ValueError(f"a {self.a} and b {self.b} must be 1 or more: the gradient at a score 0 or 1 is infinite")

    def gradient(self, scores: Sequence[Tensor], weights: Sequence[Tensor]) -> list[Tensor]:
        return [
            self.a * s ** (self.a - 1) * (1 - s) ** self.b - self.b * s**self.a * (1 - s) ** (self.b - 1)
            for s in scores
        ]


class WeightedVariance(Regulariser):
    """sum w^2 s (1 - s): the variance of the effective weights when scores are probabilities."""

    def gradient(self, scores: Sequence[Tensor], weights: Sequence[Tensor]) -> list[Tensor]:
        return [w**2 * (1 - 2 * s) for s, w in zip(scores, weights, strict=True)]


class Entropy(Regulariser):
    """sum of -s ln s - (1 - s) ln(1 - s), for scores in [0, 1]; its gradient is set to 0 at 0 and 1."""

    def gradient(self, scores: Sequence[Tensor], weights: Sequence[Tensor]) -> list[Tensor]:
        return [torch.where((s > 0) & (s < 1), torch.log((1 - s) / s), 0.0) for s in scores]


@dataclass(frozen=True)
class Penalty:
    """The options of `method` for the term that is added to the loss: a strength times a regulariser.

    regulariser: function of all scores; None = no penalty
    strength: lambda, the factor on the sum over all scores
    strength_times_n: lambda times the number of prunable weights, a number that transfers between networks; used
        instead of `strength`

    Raises ValueError when both strengths are given.
    """

    regulariser: Regulariser | None = None
    strength: float | None = None
    strength_times_n: float | None = None

    def __post_init__(self) -> None:
        if self.strength is not None and self.strength_times_n is not None:
            raise ValueError(
                "give strength or strength_times_n, not both: they are the same number, divided by N or not"
            )

    def add_gradient_(self, scores: Sequence[Tensor], weights: Sequence[Tensor], total: int) -> None:
        """Add the penalty's gradient to the gradients of `scores`. total: number of prunable weights."""
        strength = self.strength or (self.strength_times_n or 0.0) / total
        if strength and self.regulariser is not None:
            gradient = self.regulariser.gradient(scores, weights)
            torch._foreach_add_([s.grad for s in scores], gradient, alpha=strength)
