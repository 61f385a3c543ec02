"""Arguments and result of a treatment, and the steps that several treatments share."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from lth.pruning.allocation import Allocation
from lth.pruning.topk import Scores, largest
from lth.tickets._stored import covered_weights
from lth.tickets.ticket import Ticket

State = Mapping[str, Tensor]
Draw = Callable[[int], nn.Module]  # seed -> the network with initial weights drawn from it


class Treatment(Protocol):
    """New masks (bool) and weights from those of a ticket, which are not changed.

    masks: parameter name -> 0/1 or bool tensor
    weights: the whole state that training starts from
    draw: builds the network with initial weights drawn from a seed
    seed: seed of all random draws of the treatment
    scores: the criterion's scores for the ticket, larger = keep

    Raises ValueError if `draw` or `scores` is needed and missing.
    """

    def __call__(
        self, masks: State, weights: State, draw: Draw | None = None, seed: int = 0, scores: Scores | None = None
    ) -> tuple[State, State]: ...


def treated(treatment: Treatment, ticket: Ticket, path: str = "at hand", **given: Any) -> Ticket:
    """The masks and weights that a treatment makes of a ticket.

    path: the ticket's file, for the message
    given: `draw`, `seed` and `scores`, see `Treatment`

    Raises ValueError for a ticket that lacks the weights of pruned places if the treatment uses them. Missing weights
    are NaN during the treatment, which reveals their use. `none` and treatments that draw all weights do not use them.
    """
    weights = dict(ticket.weights)
    covered = covered_weights(ticket.masks, weights) if ticket.missing else {}
    for name, weight in covered.items():
        weights[name] = torch.where(ticket.masks[name].bool(), weight, torch.nan)
    masks, new = treatment(ticket.masks, weights, **given)
    if not any(bool(new[name].isnan().any()) for name in covered):
        return Ticket(masks, new)
    if not all(torch.equal(masks[n].bool(), mask.bool()) for n, mask in ticket.masks.items()) or any(
        not torch.equal(new[n].nan_to_num(), weight.nan_to_num()) for n, weight in weights.items()
    ):
        name = getattr(getattr(treatment, "func", treatment), "__name__", "")
        ticket.check_weights(path, f"treatment={name}")
    return Ticket(masks, ticket.weights, {}, ticket.missing)


def bools(masks: State) -> dict[str, Tensor]:
    """Copies of the masks as bool tensors."""
    return {name: mask.bool().clone() for name, mask in masks.items()}


def _density(masks: State) -> float:
    return sum(int(torch.count_nonzero(m)) for m in masks.values()) / sum(m.numel() for m in masks.values())


def keep_by(scores: Scores, masks: State, allocation: Allocation | None) -> dict[str, Tensor]:
    """Masks that keep the largest scores, as many in total as `masks` keeps.

    allocation: divides the total among the layers; None keeps the count of every layer
    """
    if allocation is None:
        counts = {name: int(torch.count_nonzero(mask)) for name, mask in masks.items()}
    else:
        counts = allocation(scores, _density(masks))
    return {name: largest({name: score}, counts[name])[name] for name, score in scores.items()}


def scores_for(masks: State, scores: Scores | None, treatment: str) -> dict[str, Tensor]:
    """The scores in the order of `masks`. Raises ValueError naming the treatment if they are missing or do not fit."""
    if scores is None:
        raise ValueError(f"treatment={treatment} needs the scores that the ticket's criterion gave; there are none")
    wrong = [name for name, mask in masks.items() if name not in scores or scores[name].shape != mask.shape]
    if wrong:
        raise ValueError(f"treatment={treatment}: the scores do not fit the ticket at {wrong}")
    return {name: scores[name].detach() for name in masks}
