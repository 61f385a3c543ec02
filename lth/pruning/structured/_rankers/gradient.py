"""First-order Taylor criterion: the change of the loss that removing a unit would cause."""

import torch
from torch import nn

from lth.pruning.criteria._gradients import add_, prepared, scoring_losses
from lth.pruning.criterion import Batches
from lth.pruning.masks import Masks
from lth.pruning.structured._rankers import UnitScores
from lth.pruning.structured.groups import UnitIndex
from lth.pruning.structured.units import sum_per_unit


def gradient(
    net: nn.Module,
    masks: Masks,
    unit_index: UnitIndex,
    batches: Batches | None = None,
    seed: int = 0,
    *,
    n_batches: int = 10,
    signed: bool = False,
    bn: str = "eval",
) -> UnitScores:
    """|sum over the unit of gradient * weight| (Molchanov et al., ICLR 2017, arXiv 1611.06440).

    n_batches: number of training batches over which the gradient is averaged
    signed: True omits the absolute value
    bn: mode of batch norm while scoring, `eval` or `train`
    """
    weights = dict(zip(masks, prepared(net, masks, bn), strict=True))
    sums = [torch.zeros_like(weights[name]) for name in unit_index]
    for loss in scoring_losses(net, batches, n_batches, None):
        add_(sums, torch.autograd.grad(loss, [weights[name] for name in unit_index]))
    scores = {
        name: sum_per_unit(weights[name] * total / n_batches, unit_index[name])
        for name, total in zip(unit_index, sums, strict=True)
    }
    return scores if signed else {name: score.abs() for name, score in scores.items()}
