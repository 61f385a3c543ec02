"""Dropping: which of the kept weights survive a topology update.

A `Drop` function takes
  layers: by name
  fraction: fraction of the kept weights to drop, 0..1
  limits: layer -> largest number of weights it may drop
  scope: `layer` (the fraction of each layer) or `global` (of all layers together)
and returns the survivors, a bool tensor for each layer. A score is a number for each weight; larger = survives.
"""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from lth.pruning.topk import largest
from lth.pruning.topology.layer import Layer, Layers

Drop = Callable[[Layers, float, Mapping[str, int], str], dict[str, Tensor]]
_Score = Callable[[Layer], Tensor]
_ROUNDINGS = {"floor": lambda value: math.floor(value + 1e-9), "ceil": lambda value: math.ceil(value - 1e-9)}
_SIGNS = ("together", "apart")


def magnitude(layer: Layer, noise: float = 0.0) -> Tensor:
    """|w| plus normal noise of standard deviation `noise` (RigL breaks ties with 1e-5; arXiv 1911.11134)."""
    score = layer.weight.detach().abs()
    if noise:
        score = score + noise * torch.randn(score.shape, generator=layer.random).to(score)
    return score


def taylor(layer: Layer) -> Tensor:
    """(w g)^2, the squared first-order change of the loss (Molchanov et al., arXiv 1906.10771)."""
    return (layer.weight.detach() * layer.dense_gradient()).square()


def snip(layer: Layer) -> Tensor:
    """|w g|, connection sensitivity (arXiv 1810.02340)."""
    return (layer.weight.detach() * layer.dense_gradient()).abs()


def random(layer: Layer) -> Tensor:
    """Uniform in [0, 1): kept weights are dropped at random."""
    return layer.draw()


def smallest(
    layers: Layers,
    fraction: float,
    limits: Mapping[str, int],
    scope: str = "layer",
    *,
    score: _Score = magnitude,
    rounding: str = "floor",
    signs: str = "together",
) -> dict[str, Tensor]:
    """Drop the fraction of kept weights whose `score` is smallest: in each layer, or over all layers at once.

    score: function from a layer to one score per weight
    rounding: rounding of fraction * kept, `floor` (RigL, SET) or `ceil` (ITOP, GraNet)
    signs: `together`, or `apart` = the fraction of the positive and of the negative weights (SET, arXiv 1707.04780)
    """
    for key, value, valid in (("rounding", rounding, tuple(_ROUNDINGS)), ("signs", signs, _SIGNS)):
        if value not in valid:
            raise ValueError(f"method.drop.{key}={value!r} is not one of {valid}")
    scores = {name: score(layer) for name, layer in layers.items()}
    survivors = {name: torch.zeros_like(layer.kept) for name, layer in layers.items()}
    left = dict(limits)  # both signs of a layer share its limit
    for part in _parts(layers, scope, signs):
        kept = sum(int(torch.count_nonzero(p)) for p in part.values())
        dropped = min(_ROUNDINGS[rounding](fraction * kept), sum(left[name] for name in part))
        ranked = {name: torch.where(p, scores[name], -torch.inf) for name, p in part.items()}
        for name, chosen in largest(ranked, kept - dropped).items():
            survivors[name] |= chosen
            left[name] -= int(torch.count_nonzero(part[name] & ~chosen))
    return survivors


def below(
    layers: Layers, fraction: float, limits: Mapping[str, int], scope: str = "layer", *, threshold: float
) -> dict[str, Tensor]:
    """Drop kept weights of magnitude `threshold` or less, at most `limits` of a layer; `fraction` is ignored."""
    survivors: dict[str, Tensor] = {}
    for name, layer in layers.items():
        size = layer.weight.detach().abs()
        over = int(torch.count_nonzero(layer.kept & (size > threshold)))
        ranked = {name: torch.where(layer.kept, size, -torch.inf)}
        survivors |= largest(ranked, max(over, layer.active - limits[name]))
    return survivors


def _parts(layers: Layers, scope: str, signs: str) -> list[dict[str, Tensor]]:
    """Groups of kept weights that each lose the same fraction: per layer or not, per sign or not."""
    halves = [
        {name: layer.kept & half(layer.weight.detach()) for name, layer in layers.items()}
        for half in ([torch.isfinite] if signs == "together" else [lambda w: w >= 0, lambda w: w < 0])
    ]
    if scope == "global":
        return halves
    return [{name: part} for half in halves for name, part in half.items()]
