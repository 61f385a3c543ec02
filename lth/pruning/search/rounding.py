"""Rounding of scores in [0, 1] to a mask after a search that multiplied weights by scores (hypercube optimisation)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

# by name, not by `_target_`: `method.rounding` is a plain name in the configuration of earlier runs
_ROUNDINGS: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "naive": lambda score, random: score > 0.5,
    "prob": lambda score, random: torch.rand(score.shape, generator=random).to(score) < score,
    "all_ones": lambda score, random: torch.ones_like(score, dtype=torch.bool),
}


@dataclass(frozen=True)
class Rounding:
    """The options of `method` that say how scores are rounded at the end of a search.

    rounding: `naive` keeps a weight whose score is over 1/2, `prob` keeps it with its score as probability,
        `all_ones` keeps every weight (a control)
    rounding_noise: standard deviation of normal noise added to scores before rounding; 0 as in arXiv 2202.12002

    Raises ValueError for an unknown name or a negative standard deviation.
    """

    rounding: str = "naive"
    rounding_noise: float = 0.0

    def __post_init__(self) -> None:
        if self.rounding not in _ROUNDINGS:
            raise ValueError(f"method.rounding={self.rounding!r} is not one of {tuple(_ROUNDINGS)}")
        if not self.rounding_noise >= 0:
            raise ValueError(f"method.rounding_noise={self.rounding_noise}: must be 0 or more")

    def check(self, binary: bool) -> None:
        """Raise ValueError when options are set although training already uses 0/1 masks (`binary`)."""
        if binary and self != Rounding():
            raise ValueError(
                f"rounding={self.rounding}, rounding_noise={self.rounding_noise} are for scores that are used "
                "unrounded (method/rule=relaxed)"
            )

    def __call__(self, score: Tensor, random: torch.Generator) -> Tensor:
        """The bool mask of one tensor of scores. Draws noise first, then `prob`'s numbers, both from `random`."""
        noise = self.rounding_noise
        added = noise * torch.randn(score.shape, generator=random).to(score) if noise else 0.0
        return _ROUNDINGS[self.rounding](score + added, random)
