"""What a treatment is given and what it returns."""

from collections.abc import Callable, Mapping
from typing import Protocol

import torch
from torch import Tensor, nn

from lth.pruning.allocation import Allocation
from lth.pruning.topk import Scores, largest

State = Mapping[str, Tensor]
Draw = Callable[[int], nn.Module]  # seed -> the network, freshly initialised from it


class Treatment(Protocol):
    """New masks (bool) and weights from a ticket's. Raises ValueError where it lacks what it needs."""

    def __call__(
        self, masks: State, weights: State, draw: Draw | None = None, seed: int = 0, scores: Scores | None = None
    ) -> tuple[State, State]: ...


def bools(masks: State) -> dict[str, Tensor]:
    """The masks as bool tensors of their own."""
    return {name: mask.bool().clone() for name, mask in masks.items()}


def density_of(masks: State) -> float:
    """Fraction of prunable weights kept, 0..1."""
    return sum(int(torch.count_nonzero(m)) for m in masks.values()) / sum(m.numel() for m in masks.values())


def keep_by(scores: Scores, masks: State, allocation: Allocation | None) -> dict[str, Tensor]:
    """Masks that keep the largest scores: as many as `masks` in each layer, or in all, shared out by `allocation`."""
    if allocation is None:
        counts = {name: int(torch.count_nonzero(mask)) for name, mask in masks.items()}
    else:
        counts = allocation(scores, density_of(masks))
    return {name: largest({name: score}, counts[name])[name] for name, score in scores.items()}


def scores_for(masks: State, scores: Scores | None, treatment: str) -> dict[str, Tensor]:
    """The scores of the ticket's layers, in its order. Raises ValueError where they are missing or do not fit."""
    if scores is None:
        raise ValueError(
            f"treatment={treatment} needs the scores that the ticket's criterion gave; none were handed in"
        )
    wrong = [name for name, mask in masks.items() if name not in scores or scores[name].shape != mask.shape]
    if wrong:
        raise ValueError(f"treatment={treatment}: the scores do not fit the ticket at {wrong}")
    return {name: scores[name].detach() for name in masks}
