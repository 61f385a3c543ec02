"""Rules: the mask that scores make, for the forward pass. Lists hold one tensor a layer.

A rule is called without gradients, with the scores, the flags (1 = may be used; no flags at all = everything may) and
the density that a schedule asks for, and returns 0/1 masks (`Relaxed`: the scores themselves, it is not `binary`).
`signed` says that it looks at |score|; `boxed` that scores live in [0, 1]; `settled` is the rule that takes its place
outside training. No rule synchronises with the device.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import pad

ROUNDINGS: dict[str, Callable[[int, float], int]] = {
    "ceil": lambda size, k: size - int((1 - k) * size),
    "floor": lambda size, k: math.floor(k * size + 1e-9),
}
TIES = ("exact", "as_published")
SCOPES = ("layer", "global")


@dataclass(frozen=True)
class Rounded:
    """1 where score > 1/2 (Gem-Miner, arXiv 2202.12002; quantised HC): scores in [0, 1], half rounds to 0."""

    signed = False
    boxed = True
    binary = True

    def __call__(self, scores: Sequence[Tensor], flags: Sequence[Tensor], density: float) -> list[Tensor]:
        return torch._foreach_round(list(scores))  # half to even: 0.5 becomes 0


@dataclass(frozen=True)
class Relaxed:
    """The score itself, a probability that multiplies the weight (hypercube optimisation); rounded once, at the end."""

    signed = False
    boxed = True
    binary = False

    def __call__(self, scores: Sequence[Tensor], flags: Sequence[Tensor], density: float) -> list[Tensor]:
        return [score.detach() for score in scores]


@dataclass(frozen=True)
class Sampled:
    """1 with the score as probability, drawn anew in every forward pass of training."""

    signed = False
    boxed = True
    binary = True
    settled = Rounded()

    def __call__(self, scores: Sequence[Tensor], flags: Sequence[Tensor], density: float) -> list[Tensor]:
        return [torch.bernoulli(score.detach().clamp(0, 1)) for score in scores]


@dataclass(frozen=True)
class Largest:
    """1 for the largest |score|: edge-popup in every layer, global edge-popup over the network (arXiv 1911.13299).

    scope: `layer` or `global`. rounding: `ceil` keeps size - int((1 - density) * size) of a layer (edge-popup), `floor`
    keeps floor(density * size) (arXiv 2210.02412). ties: `exact` keeps exactly so many, the lower index first;
    `as_published` keeps what lies strictly over the threshold, and so loses every tie.
    """

    scope: str = "layer"
    rounding: str = "ceil"
    ties: str = "exact"
    signed = True
    boxed = False
    binary = True

    def __post_init__(self) -> None:
        for value, valid in ((self.scope, SCOPES), (self.rounding, tuple(ROUNDINGS)), (self.ties, TIES)):
            if value not in valid:
                raise ValueError(f"{value!r} is not one of {valid}")

    def counts(self, sizes: Sequence[int], density: float) -> list[int]:
        """How many entries each layer keeps; with scope global, one number for all."""
        if self.scope == "global":
            return [ROUNDINGS[self.rounding](sum(sizes), density)]
        return [ROUNDINGS[self.rounding](size, density) for size in sizes]

    def check(self, sizes: Sequence[int], room: Sequence[int], density: float) -> None:
        """Raise ValueError where `density` asks a layer for more than the `room` it has."""
        asked, has = self.counts(sizes, density), [sum(room)] if self.scope == "global" else room
        short = [f"{a} of {h}" for a, h in zip(asked, has, strict=True) if a > h]
        if short:
            raise ValueError(f"density {density} asks a layer for more weights than the support has: {short}")

    def __call__(self, scores: Sequence[Tensor], flags: Sequence[Tensor], density: float) -> list[Tensor]:
        sizes = [score.numel() for score in scores]
        counts = self.counts(sizes, density)
        flat = torch.cat([score.flatten() for score in scores]).abs()
        if flags:
            flat = torch.where(torch.cat([flag.flatten() for flag in flags]) > 0, flat, -1.0)
        kept = largest_of_segments(flat, sizes if self.scope == "layer" else [len(flat)], counts, self.ties == "exact")
        parts = kept.split(sizes)
        return [part if part.shape == s.shape else part.view(s.shape) for part, s in zip(parts, scores, strict=True)]


def by_group(rule: Callable[..., list[Tensor]], groups: Sequence[Sequence[int]]) -> Callable[..., list[Tensor]]:
    """`rule`, with several tensors taken as one layer: `groups` lists their places (a weight and its layer's bias)."""

    def ruled(scores: Sequence[Tensor], flags: Sequence[Tensor], density: float) -> list[Tensor]:
        joined = [
            [torch.cat([tensors[i].flatten() for i in group]) for group in groups if tensors]
            for tensors in (scores, flags)
        ]
        masks: list[Tensor] = [scores[0]] * len(scores)
        for mask, group in zip(rule(*joined, density), groups, strict=True):
            for i, part in zip(group, mask.split([scores[i].numel() for i in group]), strict=True):
                masks[i] = part.view(scores[i].shape)
        return masks

    return ruled


def largest_of_segments(values: Tensor, sizes: Sequence[int], counts: Sequence[int], exact: bool = True) -> Tensor:
    """Bool: the `counts[i]` largest entries of the i-th segment of `values`. Ties go to the lower index, or, unless
    `exact`, are all left out.

    One selection a segment; everything else is done for all segments together, without reading the device.
    """
    parts = values.split(list(sizes))
    thresholds = [
        part.kthvalue(len(part) - count + 1).values if count else torch.full_like(part[0], torch.inf)
        for part, count in zip(parts, counts, strict=True)
    ]
    lengths, ends, wanted = _on_device(tuple(sizes), tuple(counts), values.device)
    segment = torch.repeat_interleave(lengths, output_size=len(values))  # of every entry
    threshold = torch.stack(thresholds).index_select(0, segment)
    over = values > threshold
    if not exact:
        return over
    tied = values == threshold
    seen = torch.stack([over, tied]).cumsum(1, dtype=torch.int32)  # half the time that int64 takes
    upto = pad(seen[:, ends], (1, 0))  # over, tied up to each segment's end, and 0 before the first segment
    last = wanted - upto[0, 1:] + upto.sum(0)[:-1]  # of all ties, counted from the first segment on, the last one taken
    return over | (tied & (seen[1] <= last.index_select(0, segment)))


@lru_cache(maxsize=4)
def _on_device(sizes: tuple[int, ...], counts: tuple[int, ...], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Lengths, last places and counts of segments, copied to the device once and not in every step."""
    lengths = torch.tensor(sizes, device=device)
    return lengths, lengths.cumsum(0) - 1, torch.tensor(counts, device=device)
