"""Inverted scores: keep what the criterion would prune first (arXiv 2009.08576)."""

from lth.pruning.allocation import Allocation
from lth.pruning.topk import Scores
from lth.tickets.treatments._treatment import Draw, State, keep_by, scores_for


def invert(
    masks: State,
    weights: State,
    draw: Draw | None = None,
    seed: int = 0,
    scores: Scores | None = None,
    *,
    allocation: Allocation | None = None,
) -> tuple[State, State]:
    """Masks that keep the smallest scores.

    allocation: divides the number of kept weights among the layers; None keeps the ticket's count of every layer
    """
    checked = scores_for(masks, scores, "invert")
    return keep_by({name: -score for name, score in checked.items()}, masks, allocation), dict(weights)
