"""One topology update: drop and grow, with the number of weights conserved."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lth.pruning.topk import largest
from lth.pruning.topology.drop import Drop
from lth.pruning.topology.site import Site, Sites

Grow = Callable[[Site], Tensor]
SCOPES = ("layer", "global")


@dataclass(frozen=True)
class Moved:
    """What an update made of a layer: bool tensors. kept: the new mask. new: kept now and not before."""

    kept: Tensor
    new: Tensor


def move(
    sites: Sites, fraction: float, drop: Drop, grow: Grow, scope: str = "layer", regrow_dropped: bool = True
) -> dict[str, Moved]:
    """Drop the `fraction` of kept weights that `drop` chooses and grow as many where `grow` scores highest.

    scope: `layer` conserves the count of every layer, `global` only the total. regrow_dropped: dropped weights are
    candidates again; those that come back are not new and keep weight and optimizer state. Layers without a free
    position stay as they are.
    """
    if scope not in SCOPES:
        raise ValueError(f"scope {scope!r} is not one of {SCOPES}")
    moved = {n: Moved(site.kept, torch.zeros_like(site.kept)) for n, site in sites.items() if not site.free}
    open_ = {name: site for name, site in sites.items() if name not in moved}
    if not open_:
        return moved
    limits = {name: site.active if regrow_dropped else site.free for name, site in open_.items()}
    survivors = drop(open_, fraction, limits, scope)
    candidates = {name: _candidates(site, survivors[name], regrow_dropped) for name, site in open_.items()}
    lost = {name: site.active - int(torch.count_nonzero(survivors[name])) for name, site in open_.items()}
    grown = _grown(candidates, lost, {name: grow(site) for name, site in open_.items()}, scope)
    for name, site in open_.items():
        kept = survivors[name] | grown[name]
        moved[name] = Moved(kept, kept & ~site.kept)
    return {name: moved[name] for name in sites}


def _candidates(site: Site, survivors: Tensor, regrow_dropped: bool) -> Tensor:
    taken = survivors if regrow_dropped else site.kept
    return site.allowed & ~taken


def _grown(
    candidates: dict[str, Tensor], lost: dict[str, int], scores: dict[str, Tensor], scope: str
) -> dict[str, Tensor]:
    ranked = {name: torch.where(where, scores[name], -torch.inf) for name, where in candidates.items()}
    if scope == "global":
        return largest(ranked, sum(lost.values()))
    return {name: largest({name: score}, lost[name])[name] for name, score in ranked.items()}
