"""Mask rules: the masks that scores make for the forward pass. Lists hold one tensor for each layer.

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
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import pad

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
        kept = _largest_of_segments(flat, sizes if self.scope == "layer" else [len(flat)], counts, self.ties == "exact")
        parts = kept.split(sizes)
        return [part if part.shape == s.shape else part.view(s.shape) for part, s in zip(parts, scores, strict=True)]


def _largest_of_segments(values: Tensor, sizes: Sequence[int], counts: Sequence[int], exact: bool = True) -> Tensor:
    """True for the `counts[i]` largest entries of segment i of `values` (1-D).

    Ties go to lower indices if `exact`. Otherwise the threshold is the largest entry that is not among them, and all
    entries equal to it are left out. One selection for each segment; the rest is done for all segments together,
    without reading the device.
    """
    parts = values.split(list(sizes))
    thresholds = [_nth_largest(part, count if exact else count + 1) for part, count in zip(parts, counts, strict=True)]
    lengths, ends, wanted = _on_device(tuple(sizes), tuple(counts), values.device)
    segment = torch.repeat_interleave(lengths, output_size=len(values))  # the segment of each entry
    threshold = torch.stack(thresholds).index_select(0, segment)
    over = values > threshold
    if not exact:
        return over
    tied = values == threshold
    seen = torch.stack([over, tied]).cumsum(1, dtype=torch.int32)  # half the time that int64 takes
    upto = pad(seen[:, ends], (1, 0))  # counts of both up to each segment's end, with 0 before the first
    last = wanted - upto[0, 1:] + upto.sum(0)[:-1]  # ties up to the last one kept, over all segments
    return over | (tied & (seen[1] <= last.index_select(0, segment)))


def _nth_largest(values: Tensor, n: int) -> Tensor:
    """The n-th largest of `values` (1-D): infinity for n = 0, minus infinity where there are fewer than n."""
    if 0 < n <= len(values):
        return values.kthvalue(len(values) - n + 1).values
    return torch.full_like(values[0], -torch.inf if n else torch.inf)


@lru_cache(maxsize=4)
def _on_device(sizes: tuple[int, ...], counts: tuple[int, ...], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Lengths, last indices and counts of segments, cached: copying them to the device in each step would cost time."""
    lengths = torch.tensor(sizes, device=device)
    return lengths, lengths.cumsum(0) - 1, torch.tensor(counts, device=device)
