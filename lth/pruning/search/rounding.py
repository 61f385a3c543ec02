"""From scores in [0, 1] to a mask, once, at the end of a search that used them unrounded (hypercube optimisation)."""

from collections.abc import Callable

import torch
from torch import Tensor

Rounding = Callable[[Tensor, torch.Generator], Tensor]


def naive(score: Tensor, random: torch.Generator) -> Tensor:
    """Kept where score > 1/2."""
    return score > 0.5


def prob(score: Tensor, random: torch.Generator) -> Tensor:
    """Kept with the score as probability."""
    return torch.rand(score.shape, generator=random).to(score) < score


def all_ones(score: Tensor, random: torch.Generator) -> Tensor:
    """Everything kept: what the scores are compared with."""
    return torch.ones_like(score, dtype=torch.bool)


ROUNDINGS: dict[str, Rounding] = {rounding.__name__: rounding for rounding in (naive, prob, all_ones)}


def rounding_of(name: str, noise: float = 0.0, unrounded: bool = True) -> Rounding:
    """The rounding called `name`, of scores to which `noise` times a standard normal is added (arXiv 2202.12002: 0).

    unrounded: whether the scores were used so; for others there is nothing to choose. Raises ValueError where one does.
    """
    if name not in ROUNDINGS or noise < 0:
        raise ValueError(f"rounding {name!r} is not one of {tuple(ROUNDINGS)}, or its noise {noise} is under 0")
    if (name != "naive" or noise) and not unrounded:
        raise ValueError(
            f"rounding={name}, rounding_noise={noise} are for scores that are used unrounded (method/rule=relaxed)"
        )

    def rounded(score: Tensor, random: torch.Generator) -> Tensor:
        added = noise * torch.randn(score.shape, generator=random).to(score) if noise else 0.0
        return ROUNDINGS[name](score + added, random)

    return rounded
