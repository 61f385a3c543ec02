"""Allocations of random tickets: Erdos-Renyi, balanced and pyramid."""

import math
import re

from lth.pruning.allocation.counts import amount, apportion, available
from lth.pruning.allocation.global_uniform import fixing
from lth.pruning.prunable import names_matching
from lth.pruning.topk import Scores

_CLIPS = ("clip", "clip_conv1d")
_ORDERS = ("parameters", "depth")


def erk(
    scores: Scores, density: float, *, power: float = 1.0, as_published: str | None = None, at_least: int = 1
) -> dict[str, int]:
    """Erdos-Renyi-kernel: density proportional to sum(shape) / product(shape) (RigL, arXiv 1911.11134).

    power: exponent of that ratio; 0 = uniform
    as_published: `clip` = cut densities at 1 and lose the excess, as the code of arXiv 2210.02412 does; `clip_conv1d` =
        the same with the shape of linear layers taken as (outputs, inputs, 1), which adds 1 to its sum (TurboPrune);
        None = give the excess to the other layers
    at_least: fewest weights of a layer
    """
    one = int(as_published == "clip_conv1d")
    sums = {name: sum(score.shape) + (one if score.dim() == 2 else 0) for name, score in scores.items()}
    shares = {name: score.numel() * (sums[name] / score.numel()) ** power for name, score in scores.items()}
    return _share(scores, density, shares, as_published, at_least, _CLIPS)


def er(scores: Scores, density: float, *, as_published: str | None = None, at_least: int = 1) -> dict[str, int]:
    """Erdos-Renyi: density proportional to (in + out) / (in * out), without kernel sizes (SET, arXiv 1707.04780).

    as_published, at_least: as for `erk`, without `clip_conv1d`
    """
    shares = {n: s.numel() * (s.shape[0] + s.shape[1]) / (s.shape[0] * s.shape[1]) for n, s in scores.items()}
    return _share(scores, density, shares, as_published, at_least)


def erk_plus(scores: Scores, density: float, *, head: float = 1.0) -> dict[str, int]:
    """ERK with the classifier at density `head` (arXiv 2202.02643)."""
    return fixing(scores, density, base=erk, layers={"@head": head})


def balanced(scores: Scores, density: float, *, as_published: str | None = None, at_least: int = 1) -> dict[str, int]:
    """The same number of weights in every layer, small layers dense (Gadhikar et al., ICML 2023, arXiv 2210.02412).

    as_published: `clip` = lose what small layers cannot hold; `sequential` = give it to later layers only (TurboPrune)
    at_least: fewest weights of a layer; unused by `sequential`
    """
    if as_published == "sequential":
        return _sequential(scores, density)
    return _share(scores, density, dict.fromkeys(scores, 1.0), as_published, at_least)


def pyramid(
    scores: Scores, density: float, *, order: str = "parameters", tie_shortcuts: bool = False, at_least: int = 1
) -> dict[str, int]:
    """Density r^l in the l-th layer, with r solved for the total (arXiv 2210.02412). The head is the sparsest.

    order: `parameters` = layers numbered as registered, shortcuts included, as published; `depth` = shortcuts have
        the number of the first layer of their block
    tie_shortcuts: shortcuts have the number of the last layer of their block
    at_least: fewest weights of a layer
    """
    if order not in _ORDERS:
        raise ValueError(f"order {order!r} is not one of {_ORDERS}")
    exponents = _exponents(list(scores), order, tie_shortcuts)
    rate = _rate({name: (scores[name].numel(), e) for name, e in exponents.items()}, amount(scores, density))
    real = {name: scores[name].numel() * rate**e for name, e in exponents.items()}
    return apportion(real, amount(scores, density), available(scores), at_least)


def _share(
    scores: Scores,
    density: float,
    shares: dict[str, float],
    as_published: str | None,
    at_least: int,
    clips: tuple[str, ...] = _CLIPS[:1],
) -> dict[str, int]:
    if as_published not in (None, *clips):
        raise ValueError(f"as_published {as_published!r} is not one of {(None, *clips)}")
    wanted, capacity = amount(scores, density), available(scores)
    if as_published is not None:
        scale = wanted / sum(shares.values())
        real = {n: min(float(capacity[n]), scale * share) for n, share in shares.items()}
        return apportion(real, sum(real.values()), capacity, at_least)
    return apportion(shares, wanted, capacity, at_least)


def _sequential(scores: Scores, density: float) -> dict[str, int]:
    count, level, real = len(scores), amount(scores, density) / len(scores), {}
    for index, (name, score) in enumerate(scores.items()):
        real[name] = min(level, float(score.numel()))
        if level >= score.numel():
            level += (level - score.numel()) / (count - index)
    capacity = available(scores)
    real = {name: min(value, float(capacity[name])) for name, value in real.items()}
    return apportion(real, sum(real.values()), capacity)


def _exponents(names: list[str], order: str, tie_shortcuts: bool) -> dict[str, int]:
    beside = names_matching("@shortcuts", names) if tie_shortcuts or order == "depth" else set()
    exponents = {name: depth for depth, name in enumerate((n for n in names if n not in beside), start=1)}
    for name in beside:
        block = re.split("shortcut|downsample", name)[0]  # prefix of the names of its layers
        mates = [exponents[n] for n in names if n.startswith(block) and n not in beside]
        if not mates:
            raise ValueError(f"shortcut {name} belongs to no block among {names}")
        exponents[name] = max(mates) if tie_shortcuts else min(mates)
    return {name: exponents[name] for name in names}


def _rate(layers: dict[str, tuple[int, int]], wanted: float) -> float:
    """The root in (0, 1] of sum(n * r^l) = wanted, by bisection to the last bit."""
    low, high = 0.0, 1.0
    while True:
        middle = (low + high) / 2
        if middle in (low, high):
            return high
        enough = math.fsum(n * middle**e for n, e in layers.values()) >= wanted
        low, high = (low, middle) if enough else (middle, high)
