"""Dropping: which of the kept weights survive a topology update.

A rule gets the sites, the fraction of kept weights to drop, how many each layer may drop, and the scope; it returns
the survivors, bool tensors by layer. Scores give each kept weight a number, larger = survives.
"""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from lth.pruning.topk import largest
from lth.pruning.topology.layer import Site, Sites

Score = Callable[[Site], Tensor]
Drop = Callable[[Sites, float, Mapping[str, int], str], dict[str, Tensor]]
ROUNDINGS = {"floor": lambda value: math.floor(value + 1e-9), "ceil": lambda value: math.ceil(value - 1e-9)}
SIGNS = ("together", "apart")


def magnitude(site: Site, noise: float = 0.0) -> Tensor:
    """|w|, plus normal noise of this standard deviation (RigL breaks ties with 1e-5; arXiv 1911.11134)."""
    score = site.weight.detach().abs()
    if noise:
        score = score + noise * torch.randn(score.shape, generator=site.random).to(score)
    return score


def taylor(site: Site) -> Tensor:
    """(w g)^2, the first-order change of the loss (Molchanov et al., arXiv 1906.10771)."""
    return (site.weight.detach() * site.dense_gradient()).square()


def snip(site: Site) -> Tensor:
    """|w g|, connection sensitivity (arXiv 1810.02340)."""
    return (site.weight.detach() * site.dense_gradient()).abs()


def random(site: Site) -> Tensor:
    """Uniform numbers: any kept weight may go."""
    return site.draw()


def smallest(
    sites: Sites,
    fraction: float,
    limits: Mapping[str, int],
    scope: str = "layer",
    *,
    score: Score = magnitude,
    rounding: str = "floor",
    signs: str = "together",
) -> dict[str, Tensor]:
    """Drop the fraction of kept weights whose `score` is smallest: in each layer, or over all layers at once.

    rounding: `floor` (RigL, SET) or `ceil` (ITOP, GraNet) of fraction * kept. signs: `apart` drops the fraction of
    the positive and of the negative weights, those closest to zero (Mocanu et al. 2018, arXiv 1707.04780).
    """
    if rounding not in ROUNDINGS or signs not in SIGNS:
        raise ValueError(f"rounding {rounding!r} is not one of {list(ROUNDINGS)}, or signs {signs!r} not of {SIGNS}")
    scores = {name: score(site) for name, site in sites.items()}
    survivors = {name: torch.zeros_like(site.kept) for name, site in sites.items()}
    left = dict(limits)  # both signs of a layer draw on the same places to grow
    for part in _parts(sites, scope, signs):
        kept = sum(int(torch.count_nonzero(p)) for p in part.values())
        dropped = min(ROUNDINGS[rounding](fraction * kept), sum(left[name] for name in part))
        ranked = {name: torch.where(p, scores[name], -torch.inf) for name, p in part.items()}
        for name, chosen in largest(ranked, kept - dropped).items():
            survivors[name] |= chosen
            left[name] -= int(torch.count_nonzero(part[name] & ~chosen))
    return survivors


def below(
    sites: Sites, fraction: float, limits: Mapping[str, int], scope: str = "layer", *, threshold: float
) -> dict[str, Tensor]:
    """Drop kept weights of magnitude `threshold` or less, whatever the fraction; at most as many as may be dropped."""
    survivors: dict[str, Tensor] = {}
    for name, site in sites.items():
        size = site.weight.detach().abs()
        over = int(torch.count_nonzero(site.kept & (size > threshold)))
        ranked = {name: torch.where(site.kept, size, -torch.inf)}
        survivors |= largest(ranked, max(over, site.active - limits[name]))
    return survivors


def _parts(sites: Sites, scope: str, signs: str) -> list[dict[str, Tensor]]:
    """The sets of kept weights of which the same fraction is dropped: by layer or all together, by sign or not."""
    halves = [
        {name: site.kept & half(site.weight.detach()) for name, site in sites.items()}
        for half in ([torch.isfinite] if signs == "together" else [lambda w: w >= 0, lambda w: w < 0])
    ]
    if scope == "global":
        return halves
    return [{name: part} for half in halves for name, part in half.items()]
