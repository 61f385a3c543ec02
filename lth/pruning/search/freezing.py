"""The schedule of a search, and what freezes at its events. Epochs count from 0; an event follows its epoch."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lth.pruning.allocation import count_kept
from lth.pruning.masks import Masks
from lth.pruning.topk import largest

SHAPES = ("geometric", "linear", "cubic", "one_shot")
WHICH = ("smallest", "largest")
SCOPES = ("global", "layer")
TIES = ("exact", "all")


@dataclass(frozen=True)
class Events:
    """Events after epochs p, 2p, ... of a search of `epochs` (Gem-Miner, arXiv 2202.12002): floor((epochs - 1) / p).

    start, end: densities; event j leads to start * (end / start)^(j / n). until: fraction of the epochs after which
    there are no more events (1 as published: with 150 epochs and p = 5 the last prunes get no recovery). shape: of the
    path over the events.
    """

    epochs: int
    period: int
    start: float
    end: float
    until: float = 1.0
    shape: str = "geometric"

    def __post_init__(self) -> None:
        if self.period < 1 or not 0 < self.until <= 1 or self.shape not in SHAPES:
            raise ValueError(
                f"period {self.period} must be 1 epoch or more, until {self.until} a fraction over 0, "
                f"and shape {self.shape!r} one of {SHAPES}"
            )
        if self.total < 1 and self.end < self.start:
            raise ValueError(
                f"a search of {self.epochs} epochs has no event every {self.period} epochs, so nothing would freeze: "
                "set method.period lower or recipe.epochs higher"
            )

    @property
    def total(self) -> int:
        """How many events there are."""
        return max(0, (math.floor(self.epochs * self.until + 1e-9) - 1) // self.period)

    def done(self, completed: int) -> int:
        """How many events lie behind after `completed` epochs."""
        return min(self.total, max(0, completed - 1) // self.period)

    def follows(self, epoch: int) -> bool:
        """Whether an event comes after epoch `epoch`."""
        return self.done(epoch + 1) > self.done(epoch)

    def density(self, event: int) -> float:
        """Where the path is after so many events; exact at both ends."""
        if event <= 0 or event >= self.total:
            return self.start if event <= 0 else self.end
        x = event / self.total
        if self.shape == "geometric":
            return self.start * (self.end / self.start) ** x
        if self.shape == "one_shot":
            return self.end
        return self.end + (self.start - self.end) * (1 - x) ** (3 if self.shape == "cubic" else 1)

    def left(self, active: int, event: int, total: int) -> int:
        """How many of `active` weights are left by an event, of a network of `total`.

        Geometric as published: ceil(r * active) go, r = 1 - (end / start)^(1 / n). Other shapes: to the path's density.
        """
        if self.shape != "geometric":
            return min(active, count_kept(self.density(event), total))
        r = 1 - (self.end / self.start) ** (1 / self.total)
        return active - math.ceil(r * active - 1e-9)


@dataclass(frozen=True)
class Freezing:
    """Which weights an event takes out for good. scope: `global`, or the same share of every `layer`.

    which: `smallest` scores go; `largest` is the inverted control. ties: `exact` takes exactly as many as asked, the
    higher index first; `all` takes every weight whose score ties with the last (as the released code does).
    """

    scope: str = "global"
    which: str = "smallest"
    ties: str = "exact"
    counted = True  # how many go is the schedule's business

    def __post_init__(self) -> None:
        for value, valid in ((self.scope, SCOPES), (self.which, WHICH), (self.ties, TIES)):
            if value not in valid:
                raise ValueError(f"{value!r} is not one of {valid}")

    def __call__(self, scores: Mapping[str, Tensor], flags: Masks, left: int) -> Masks:
        """New flags inside `flags` with `left` weights."""
        sign = 1 if self.which == "smallest" else -1
        ranked = {n: torch.where(f.bool(), sign * scores[n].detach(), -torch.inf) for n, f in flags.items()}
        if self.scope == "global":
            return flags.clone().copy_(self._kept(ranked, left))
        share, active = left / flags.kept, flags.kept_by_layer()
        kept = {
            n: self._kept({n: r}, active[n] - math.ceil((1 - share) * active[n] - 1e-9))[n] for n, r in ranked.items()
        }
        return flags.clone().copy_(kept)

    def _kept(self, ranked: dict[str, Tensor], left: int) -> dict[str, Tensor]:
        kept = largest(ranked, left)
        if self.ties == "exact":
            return kept
        gone = [r[~kept[n] & (r > -torch.inf)] for n, r in ranked.items()]
        highest = max((float(g.max()) for g in gone if len(g)), default=-math.inf)
        return {n: r > highest for n, r in ranked.items()}


@torch.no_grad()
def freeze_(
    flags: Masks,
    freezing: Any,
    scores: Mapping[str, Tensor],
    left: int,
    target: int,
    used: Callable[[], Mapping[str, Tensor]],
) -> str:
    """One event on `flags`, in place: `left` weights stay, as `freezing` chooses. Returns its status.

    `ok`; `tie_overshoot` when fewer stay; `dead_network` when nothing that stays is `used`: the `target` largest scores
    then do, never fewer.
    """
    before = flags.clone()
    flags.copy_(freezing(scores, before, left))
    if not any(bool(kept.any()) for kept in used().values()):
        ranked = {n: torch.where(f.bool(), scores[n].detach(), -torch.inf) for n, f in before.items()}
        flags.copy_(largest(ranked, min(target, before.kept)))
        return "dead_network"
    return "tie_overshoot" if freezing.counted and flags.kept < left else "ok"
