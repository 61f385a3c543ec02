"""Positions of the kept weights in each layer, given how many each layer keeps."""

from collections.abc import Callable

import torch

from lth.pruning.masks import Masks
from lth.pruning.seeds import generator
from lth.pruning.topk import largest

Placement = Callable[..., Masks]  # (masks before pruning, masks chosen by score, optional seed) -> masks


def by_score(before: Masks, chosen: Masks, seed: int = 0) -> Masks:
    """Kept weights stay where the scores are largest: returns `chosen`."""
    return chosen


def shuffled(before: Masks, chosen: Masks, seed: int = 0) -> Masks:
    """Kept weights are drawn uniformly among the weights kept before; every layer keeps its number."""
    places = {}
    for name, mask in before.items():
        draws = torch.rand(mask.shape, generator=generator("placement", seed, name)).to(mask.device)
        ranked = torch.where(mask.bool(), draws, -torch.inf)
        places[name] = largest({name: ranked}, int(torch.count_nonzero(chosen[name])))[name]
    return before.clone().copy_(places)


def bernoulli(before: Masks, chosen: Masks, seed: int = 0) -> Masks:
    """Each of a layer's n weights kept before is kept independently with probability p: an Erdos-Renyi graph.

    p is the fraction of these n weights that `chosen` keeps. The total is random, with standard deviation
    sqrt(sum n p (1 - p)) over layers.
    """
    places = {}
    for name, mask in before.items():
        share = float(torch.count_nonzero(chosen[name])) / max(1, int(torch.count_nonzero(mask)))
        draws = torch.rand(mask.shape, generator=generator("placement", seed, name), dtype=torch.float64)
        places[name] = (draws < share).to(mask.device) & mask.bool()
    return before.clone().copy_(places)
