"""One topology update: drop and grow, with the number of weights conserved."""

from collections.abc import Callable

import torch
from torch import Tensor

from lth.pruning.topk import largest
from lth.pruning.topology.drop import Drop
from lth.pruning.topology.layer import Site, Sites

Grow = Callable[[Site], Tensor]
SCOPES = ("layer", "global")


def move(
    sites: Sites, fraction: float, drop: Drop, grow: Grow, scope: str = "layer", regrow_dropped: bool = True
) -> dict[str, Tensor]:
    """New masks (bool): drop the `fraction` of kept weights that `drop` chooses, grow as many where `grow` is highest.

    scope: `layer` conserves the count of every layer, `global` only the total. regrow_dropped: dropped weights are
    candidates again; those that come back are not new and keep weight and optimizer state. Layers without a free
    position stay as they are.
    """
    if scope not in SCOPES:
        raise ValueError(f"scope {scope!r} is not one of {SCOPES}")
    open_ = {name: site for name, site in sites.items() if site.free}
    if not open_:
        return {name: site.kept for name, site in sites.items()}
    limits = {name: site.active if regrow_dropped else site.free for name, site in open_.items()}
    survivors = drop(open_, fraction, limits, scope)
    candidates = {name: _candidates(site, survivors[name], regrow_dropped) for name, site in open_.items()}
    lost = {name: site.active - int(torch.count_nonzero(survivors[name])) for name, site in open_.items()}
    grown = _grown(candidates, lost, {name: grow(site) for name, site in open_.items()}, scope)
    return {name: survivors[name] | grown[name] if name in open_ else site.kept for name, site in sites.items()}


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
