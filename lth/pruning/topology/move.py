"""One topology update: drop weights and grow as many."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lth.pruning.topk import largest
from lth.pruning.topology.drop import Drop, smallest
from lth.pruning.topology.grow import gradient
from lth.pruning.topology.layer import Layer, Layers
from lth.pruning.topology.new_weights import NewWeight, zeros

Grow = Callable[[Layer], Tensor]
_SCOPES = ("layer", "global")


@dataclass(frozen=True)
class Update:
    """What a topology update does: the options of `move`, and the values of grown weights.

    drop: which kept weights are dropped
    grow: where weights are grown
    scope: `layer` keeps the number of weights of each layer, `global` that of the network
    regrow_dropped: True lets weights grow again in the update that dropped them
    initial: values of new weights, whose optimizer state is zero
    """

    drop: Drop = smallest
    grow: Grow = gradient
    scope: str = "layer"
    regrow_dropped: bool = True
    initial: NewWeight = zeros

    def masks(self, layers: Layers, fraction: float) -> dict[str, Tensor]:
        """New masks (bool) of `layers` after one update that moves `fraction` of their kept weights, as `move`."""
        return move(layers, fraction, self.drop, self.grow, self.scope, self.regrow_dropped)


def move(
    layers: Layers, fraction: float, drop: Drop, grow: Grow, scope: str = "layer", regrow_dropped: bool = True
) -> dict[str, Tensor]:
    """New masks (bool): drop the fraction of kept weights that `drop` chooses, grow as many where `grow` is largest.

    Layers without a free position stay as they are.
      layers: by name
      fraction: fraction of the kept weights to drop, 0..1
      drop, grow: see the modules of these names
      scope: `layer` conserves the count of every layer, `global` only the total
      regrow_dropped: True lets dropped weights grow again at once; they then keep their value and optimizer state
    Raises ValueError for another scope.
    """
    if scope not in _SCOPES:
        raise ValueError(f"scope {scope!r} is not one of {_SCOPES}")
    open_ = {name: layer for name, layer in layers.items() if layer.free}
    if not open_:
        return {name: layer.kept for name, layer in layers.items()}
    limits = {name: layer.active if regrow_dropped else layer.free for name, layer in open_.items()}
    survivors = drop(open_, fraction, limits, scope)
    candidates = {name: _candidates(layer, survivors[name], regrow_dropped) for name, layer in open_.items()}
    lost = {name: layer.active - int(torch.count_nonzero(survivors[name])) for name, layer in open_.items()}
    grown = _grown(candidates, lost, {name: grow(layer) for name, layer in open_.items()}, scope)
    return {name: survivors[name] | grown[name] if name in open_ else layer.kept for name, layer in layers.items()}


def _candidates(layer: Layer, survivors: Tensor, regrow_dropped: bool) -> Tensor:
    taken = survivors if regrow_dropped else layer.kept
    return layer.allowed & ~taken


def _grown(
    candidates: dict[str, Tensor], lost: dict[str, int], scores: dict[str, Tensor], scope: str
) -> dict[str, Tensor]:
    ranked = {name: torch.where(where, scores[name], -torch.inf) for name, where in candidates.items()}
    if scope == "global":
        return largest(ranked, sum(lost.values()))
    return {name: largest({name: score}, lost[name])[name] for name, score in ranked.items()}
