"""Which weights an event of a search freezes, i.e. excludes from the ticket for the rest of the search.

A freezing is called with scores (name -> tensor), the masks of the weights still allowed, and the number of weights
that the schedule leaves. It returns the masks of those that stay. `counted` says whether it uses that number.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lth.pruning.masks import Masks
from lth.pruning.topk import largest

_WHICH = ("smallest", "largest")
_SCOPES = ("global", "layer")
_TIES = ("exact", "all")


@dataclass(frozen=True)
class Freezing:
    """Freezes the number of weights that the schedule asks for.

    scope: `global` ranks all layers together, `layer` freezes the same fraction of every layer
    which: which scores freeze: the `smallest`, or the `largest` as an inverted control
    ties: `exact` freezes exactly the number asked for, higher indices first; `all` freezes every weight whose score
        equals that of the last one frozen (as the released code does)
    """

    scope: str = "global"
    which: str = "smallest"
    ties: str = "exact"
    counted = True

    def __post_init__(self) -> None:
        for key, valid in (("scope", _SCOPES), ("which", _WHICH), ("ties", _TIES)):
            if getattr(self, key) not in valid:
                raise ValueError(f"method.freezing.{key}={getattr(self, key)!r} is not one of {valid}")

    def __call__(self, scores: Mapping[str, Tensor], allowed: Masks, left: int) -> Masks:
        """Masks of the `left` weights of `allowed` that stay."""
        sign = 1 if self.which == "smallest" else -1
        ranked = {n: torch.where(a.bool(), sign * scores[n].detach(), -torch.inf) for n, a in allowed.items()}
        if self.scope == "global":
            return allowed.clone().copy_(self._kept(ranked, left))
        share, active = left / allowed.kept, allowed.kept_by_layer()
        kept = {
            n: self._kept({n: r}, active[n] - math.ceil((1 - share) * active[n] - 1e-9))[n] for n, r in ranked.items()
        }
        return allowed.clone().copy_(kept)

    def _kept(self, ranked: dict[str, Tensor], left: int) -> dict[str, Tensor]:
        kept = largest(ranked, left)
        if self.ties == "exact":
            return kept
        frozen = [r[~kept[n] & (r > -torch.inf)] for n, r in ranked.items()]
        highest = max((float(f.max()) for f in frozen if len(f)), default=-math.inf)
        return {n: r > highest for n, r in ranked.items()}


@dataclass(frozen=True)
class FreezeBelow:
    """Freezes all scores at or below a threshold; the density results from the scores (arXiv 2202.12002).

    at: the threshold, 0 <= at < 1
    """

    at: float = 0.5
    counted = False

    def __post_init__(self) -> None:
        if not 0 <= self.at < 1:
            raise ValueError(f"method.freezing.at={self.at}: must be at least 0 and under 1, as scores lie in 0..1")

    def __call__(self, scores: Mapping[str, Tensor], allowed: Masks, left: int) -> Masks:
        """Masks of the weights of `allowed` whose score is over the threshold; `left` is ignored."""
        return allowed.clone().copy_({name: mask.bool() & (scores[name] > self.at) for name, mask in allowed.items()})
