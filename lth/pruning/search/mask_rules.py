"""Mask rules: functions from scores to the masks of the forward pass. Lists hold one tensor for each layer.

A rule is called without gradients, with the scores, the masks of allowed weights (empty = every weight may be used) and
the density that is asked for. It returns 0/1 masks (`Relaxed`: the scores) and never synchronises with the device.

signed: whether the mask depends on |score|, so that gradients are multiplied by the score's sign
boxed: whether scores are kept in [0, 1]
binary: whether masks are 0/1
settled: the rule used outside training, if it is another one
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lth.pruning.search._segments import largest_of_segments

# by name, not by `_target_`: `method.rule.rounding` is a plain name in the configuration of earlier runs
_COUNTS: dict[str, Callable[[int, float], int]] = {
    "ceil": lambda size, k: size - int((1 - k) * size),
    "floor": lambda size, k: math.floor(k * size + 1e-9),
}
_TIES = ("exact", "as_published")
_SCOPES = ("layer", "global")


@dataclass(frozen=True)
class Rounded:
    """1 where score > 1/2, for scores in [0, 1]; 1/2 rounds to 0 (Gem-Miner, quantised HC: arXiv 2202.12002)."""

    signed = False
    boxed = True
    binary = True

    def __call__(self, scores: Sequence[Tensor], allowed: Sequence[Tensor], density: float) -> list[Tensor]:
        return torch._foreach_round(list(scores))  # half to even: 0.5 becomes 0


@dataclass(frozen=True)
class Relaxed:
    """The score itself multiplies the weight, as a probability; rounded once, at the end (hypercube optimisation)."""

    signed = False
    boxed = True
    binary = False

    def __call__(self, scores: Sequence[Tensor], allowed: Sequence[Tensor], density: float) -> list[Tensor]:
        return [score.detach() for score in scores]


@dataclass(frozen=True)
class Sampled:
    """1 with the score as probability, drawn anew in each forward pass of training; `Rounded` outside training."""

    signed = False
    boxed = True
    binary = True
    settled = Rounded()

    def __call__(self, scores: Sequence[Tensor], allowed: Sequence[Tensor], density: float) -> list[Tensor]:
        return [torch.bernoulli(score.detach().clamp(0, 1)) for score in scores]


@dataclass(frozen=True)
class Largest:
    """1 for the largest |score|: edge-popup in each layer, global edge-popup over the network (arXiv 1911.13299).

    scope: `layer` or `global`
    rounding: `ceil` keeps size - int((1 - density) * size) weights of a layer (edge-popup), `floor` keeps
        floor(density * size) (arXiv 2210.02412)
    ties: `exact` keeps exactly that number, lower indices first; `as_published` keeps the scores strictly over the c-th
        smallest of N, c = ceil((1 - density) * N): floor(density * N) of them, fewer where scores tie with the c-th
    """

    scope: str = "layer"
    rounding: str = "ceil"
    ties: str = "exact"
    signed = True
    boxed = False
    binary = True

    def __post_init__(self) -> None:
        for key, valid in (("scope", _SCOPES), ("rounding", tuple(_COUNTS)), ("ties", _TIES)):
            if getattr(self, key) not in valid:
                raise ValueError(f"method.rule.{key}={getattr(self, key)!r} is not one of {valid}")

    def counts(self, sizes: Sequence[int], density: float) -> list[int]:
        """The number of entries each layer keeps; with scope global, one number for all layers together."""
        count = _COUNTS[self.rounding if self.ties == "exact" else "floor"]
        return [count(size, density) for size in ([sum(sizes)] if self.scope == "global" else sizes)]

    def check(self, sizes: Sequence[int], room: Sequence[int], density: float) -> None:
        """Raise ValueError where `density` asks a layer for more entries than it may use (`room`)."""
        asked, has = self.counts(sizes, density), [sum(room)] if self.scope == "global" else room
        short = [f"{a} of {h}" for a, h in zip(asked, has, strict=True) if a > h]
        if short:
            raise ValueError(f"density {density} asks a layer for more weights than the support has: {short}")

    def __call__(self, scores: Sequence[Tensor], allowed: Sequence[Tensor], density: float) -> list[Tensor]:
        sizes = [score.numel() for score in scores]
        counts = self.counts(sizes, density)
        flat = torch.cat([score.flatten() for score in scores]).abs()
        if allowed:
            flat = torch.where(torch.cat([mask.flatten() for mask in allowed]) > 0, flat, -1.0)
        kept = largest_of_segments(flat, sizes if self.scope == "layer" else [len(flat)], counts, self.ties == "exact")
        parts = kept.split(sizes)
        return [part if part.shape == s.shape else part.view(s.shape) for part, s in zip(parts, scores, strict=True)]
