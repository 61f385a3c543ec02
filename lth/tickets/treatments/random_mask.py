"""A random mask of the ticket's density (arXiv 2009.11094)."""

import torch

from lth.pruning.allocation import Allocation, global_
from lth.pruning.seeds import generator
from lth.pruning.topk import Scores
from lth.tickets.treatments._treatment import Draw, State, keep_by


def random(
    masks: State,
    weights: State,
    draw: Draw | None = None,
    seed: int = 0,
    scores: Scores | None = None,
    *,
    allocation: Allocation = global_,
) -> tuple[State, State]:
    """New masks that keep as many weights as the ticket, at random positions, and the weights unchanged.

    draw, scores: not used
    allocation: divides the number of kept weights among the layers; by default positions come from the whole network
    """
    drawn = {
        name: torch.rand(mask.shape, generator=generator("random", seed, name), dtype=torch.float64)
        for name, mask in masks.items()
    }
    return keep_by(drawn, masks, allocation), dict(weights)
