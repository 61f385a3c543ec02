"""Allocations that repeat a ticket's layer densities: of all layers (`ER_imp`, arXiv 2210.02412) or the two ends."""

from collections.abc import Callable, Mapping

from torch import Tensor

from lth.pruning.allocation import in_proportion
from lth.pruning.topk import Scores
from lth.tickets.ticket import Ticket


def from_ticket(scores: Scores, density: float, *, path: str | None) -> dict[str, int]:
    """Weights to keep in each layer: the ticket's layer densities, scaled to `density`.

    scores: only names and shapes are used; they must match the ticket's
    density: fraction of all prunable weights kept, 0..1
    path: of the ticket file

    Raises ValueError without a path, or if the ticket does not fit the network.
    """
    return in_proportion(scores, density, kept={n: float(mask.sum()) for n, mask in _masks(scores, path).items()})


def ends_of_ticket(
    scores: Scores, density: float, *, path: str | None, base: Callable[..., dict[str, int]]
) -> dict[str, int]:
    """Weights to keep in each layer: those of `base`, with first and last layer at the ticket's densities.

    base: an allocation with the argument `ends`, such as `smart_ratio`
    scores, density, path: as for `from_ticket`

    Raises ValueError without a path, or if the ticket does not fit the network.
    """
    masks = _masks(scores, path)
    first, *_, head = scores
    if missing := [n for n in (first, head) if n not in masks]:
        raise ValueError(f"the ticket {path} does not fit the network: it has no {missing}")
    return base(scores, density, ends={"first": _density(masks[first]), "head": _density(masks[head])})


def _density(mask: Tensor) -> float:
    return float(mask.sum()) / mask.numel()


def _masks(scores: Scores, path: str | None) -> Mapping[str, Tensor]:
    if path is None:
        raise ValueError("this allocation repeats a ticket's layer densities: give ticket=PATH")
    masks = Ticket.load(path).masks
    wrong = [n for n in scores if n in masks and masks[n].shape != scores[n].shape]
    if wrong:
        raise ValueError(f"the ticket {path} does not fit the network: other shapes at {wrong}")
    return masks
