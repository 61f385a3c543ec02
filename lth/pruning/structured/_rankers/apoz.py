"""Average percentage of zeros (APoZ) among the activations of an output."""

from torch import nn

from lth.pruning.criterion import Batches
from lth.pruning.masks import Masks
from lth.pruning.structured._rankers import UnitScores
from lth.pruning.structured._rankers._averages import activation_scores, mean_per_output
from lth.pruning.structured.groups import UnitIndex


def apoz(
    net: nn.Module,
    masks: Masks,
    unit_index: UnitIndex,
    batches: Batches | None = None,
    seed: int = 0,
    *,
    n_batches: int = 10,
) -> UnitScores:
    """Minus the mean fraction of zeros among the activations of each output (Hu et al. 2016, arXiv 1607.03250).

    n_batches: number of training batches

    Raises ValueError as `activation_scores`.
    """
    return activation_scores(net, unit_index, batches, n_batches, lambda values: -mean_per_output(values == 0))
