"""From scores in [0, 1] to a mask, once, at the end of a search that used them unrounded (hypercube optimisation)."""

from collections.abc import Callable

import torch
from torch import Tensor


def naive(score: Tensor, random: torch.Generator) -> Tensor:
    """Kept where score > 1/2."""
    return score > 0.5


def prob(score: Tensor, random: torch.Generator) -> Tensor:
    """Kept with the score as probability."""
    return torch.rand(score.shape, generator=random).to(score) < score


def all_ones(score: Tensor, random: torch.Generator) -> Tensor:
    """Everything kept: what the scores are compared with."""
    return torch.ones_like(score, dtype=torch.bool)


ROUNDINGS: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    rounding.__name__: rounding for rounding in (naive, prob, all_ones)
}
