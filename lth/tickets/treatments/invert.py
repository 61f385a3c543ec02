"""The weights the criterion would have removed first (arXiv 2009.08576)."""

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
    """Masks that keep the smallest scores; layers keep the ticket's counts, or those `allocation` gives them."""
    given = scores_for(masks, scores, "invert")
    return keep_by({name: -score for name, score in given.items()}, masks, allocation), dict(weights)
