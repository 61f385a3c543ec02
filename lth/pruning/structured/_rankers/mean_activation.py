"""The mean activation of an output."""

from torch import nn

from lth.pruning.criterion import Batches
from lth.pruning.masks import Masks
from lth.pruning.structured._rankers import UnitScores
from lth.pruning.structured._rankers._averages import activation_scores, mean_per_output
from lth.pruning.structured.groups import UnitIndex


def mean_activation(
    net: nn.Module,
    masks: Masks,
    unit_index: UnitIndex,
    batches: Batches | None = None,
    seed: int = 0,
    *,
    n_batches: int = 10,
) -> UnitScores:
    """Mean activation of each output (Molchanov et al., ICLR 2017, arXiv 1611.06440).

    n_batches: number of training batches

    Raises ValueError as `activation_scores`.
    """
    return activation_scores(net, unit_index, batches, n_batches, mean_per_output)
