"""No treatment: the ticket as it is."""

from lth.pruning.topk import Scores
from lth.tickets.treatments._treatment import Draw, State, bools


def none(
    masks: State, weights: State, draw: Draw | None = None, seed: int = 0, scores: Scores | None = None
) -> tuple[State, State]:
    """Masks and weights unchanged."""
    return bools(masks), dict(weights)
