"""An allocation that repeats the layer densities of a ticket (`ER_imp`, `ER_synflow` of arXiv 2210.02412)."""

from lth.pruning.allocation import in_proportion
from lth.pruning.topk import Scores
from lth.tickets.ticket import Ticket


def from_ticket(scores: Scores, density: float, *, path: str | None) -> dict[str, int]:
    """Layer densities of the ticket at `path`, scaled to the density asked for, matched by name and shape."""
    if path is None:
        raise ValueError("this allocation repeats a ticket's layer densities: give ticket=PATH")
    masks = Ticket.load(path).masks
    wrong = [n for n in scores if n in masks and masks[n].shape != scores[n].shape]
    if wrong:
        raise ValueError(f"the ticket {path} does not fit the network: other shapes at {wrong}")
    return in_proportion(scores, density, kept={name: float(mask.sum()) for name, mask in masks.items()})
