"""Allocations that repeat a ticket's layer densities: of all layers (`ER_imp`, arXiv 2210.02412) or the two ends."""

import logging
from collections.abc import Callable, Mapping

from torch import Tensor

from lth.pruning.allocation import Allocation, in_proportion
from lth.pruning.topk import Scores
from lth.tickets.ticket import Ticket

_log = logging.getLogger(__name__)


def from_ticket(scores: Scores, density: float, *, path: str | None, base: Allocation | None = None) -> dict[str, int]:
    """Weights to keep in each layer: the ticket's layer densities, scaled to `density`.

    scores: only names and shapes are used; they must match the ticket's. Where names differ, as in a ticket of another
        program, layers are taken in order if their shapes agree
    density: fraction of all prunable weights kept, 0..1
    path: the ticket file; None = use `base`
    base: allocation used if `path` is None; None = a path is required

    Raises ValueError without path and base, or if the ticket does not fit the network.
    """
    if path is None and base is not None:
        return base(scores, density)
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
    masks = _in_order(scores, Ticket.load(path, weights=False).masks, str(path))
    wrong = [n for n in scores if n in masks and masks[n].shape != scores[n].shape]
    if wrong:
        raise ValueError(f"the ticket {path} does not fit the network: other shapes at {wrong}")
    return masks


def _in_order(scores: Scores, masks: Mapping[str, Tensor], path: str) -> Mapping[str, Tensor]:
    """The masks under the names of `scores`, if only names differ; else as they are."""
    if set(masks) == set(scores) or [m.shape for m in masks.values()] != [s.shape for s in scores.values()]:
        return masks
    _log.info("layer names of the ticket %s differ from the network's: densities are assigned in order of layers", path)
    return dict(zip(scores, masks.values(), strict=True))
