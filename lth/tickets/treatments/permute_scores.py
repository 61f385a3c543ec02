"""Permuted scores: the criterion's values and layer densities, at random positions."""

import torch

from lth.pruning.allocation import Allocation
from lth.pruning.seeds import generator
from lth.pruning.topk import Scores
from lth.tickets.treatments._treatment import Draw, State, keep_by, scores_for


def permute_scores(
    masks: State,
    weights: State,
    draw: Draw | None = None,
    seed: int = 0,
    scores: Scores | None = None,
    *,
    allocation: Allocation | None = None,
) -> tuple[State, State]:
    """Masks that keep the largest scores after the scores of each layer are permuted.

    allocation: see `invert`
    """
    permuted = {}
    for name, score in scores_for(masks, scores, "permute_scores").items():
        order = torch.randperm(score.numel(), generator=generator("permute scores", seed, name))
        permuted[name] = score.flatten()[order.to(score.device)].view(score.shape)
    return keep_by(permuted, masks, allocation), dict(weights)
