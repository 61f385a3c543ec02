"""The ranking of a rule: one score for every unit of every pruning group."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from lth.pruning.criterion import Batches
from lth.pruning.masks import Masks
from lth.pruning.restore import preserved
from lth.pruning.structured._dataflow import trace, zero_image
from lth.pruning.structured._rankers import Ranker, UnitScores, ranker_named
from lth.pruning.structured.groups import PruningGroup, UnitIndex

_FOLDED = ("l1", "l2")  # rankers of weights alone, which folding batch norm can change


@dataclass(frozen=True)
class UnitRanking:
    """How the units of a rule are scored; the lowest scores are removed first.

    Raises ValueError for an unknown ranker, and for bn_fold with a ranker other than `l1` and `l2`.

    ranker: name of a module of `lth.pruning.structured._rankers`, or a function of the type `Ranker`
    bn_fold: score the weights w * gamma / sqrt(var + eps), into which batch norm is folded
    """

    ranker: str | Ranker = "l1"
    bn_fold: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.ranker, str):
            ranker_named(self.ranker)
        if self.bn_fold and self.ranker not in _FOLDED:
            raise ValueError(f"bn_fold goes with the rankers {_FOLDED}, not with {self.ranker!r}")

    def scores(
        self, net: nn.Module, masks: Masks, groups: Sequence[PruningGroup], batches: Batches | None, seed: int
    ) -> list[Tensor]:
        """For each group one score per unit: the mean over the weights of the group. `net` is restored.

        batches: training data, for rankers that need data
        seed: the pruning seed
        """
        ranker = ranker_named(self.ranker) if isinstance(self.ranker, str) else self.ranker
        ranker = partial(_folded, ranker) if self.bn_fold else ranker
        unit_index = {name: index.to(masks[name].device) for group in groups for name, index in group.ranked.items()}
        with preserved(net):
            scores = ranker(net, masks, unit_index, batches, seed)
        return [_mean_over_weights(scores, group) for group in groups]


def _folded(
    ranker: Ranker, net: nn.Module, masks: Masks, unit_index: UnitIndex, batches: Batches | None, seed: int
) -> UnitScores:
    """Scores of the weights after folding batch norm into them, which changes `net`.

    Raises ValueError if `batches` is None, and if a layer has no batch norm or shares it with another layer.
    """
    if batches is None:
        raise ValueError("folding batch norm needs the images' shape, and no data was given")
    norm_of = trace(net, [zero_image(net, batches.image_shape)]).norm_of
    missing = [name for name in unit_index if name not in norm_of]
    if missing:
        raise ValueError(f"no batch norm of their own follows {missing}: rank them without bn_fold")
    named = dict(net.named_parameters())
    with torch.no_grad():
        for name in unit_index:
            norm, weight = net.get_submodule(norm_of[name]), named[name].detach()
            factor = (norm.running_var + norm.eps).rsqrt() * (1 if norm.weight is None else norm.weight)
            weight.mul_(factor.view(-1, *[1] * (weight.dim() - 1)))
    return ranker(net, masks, unit_index, batches, seed)


def _mean_over_weights(scores: Mapping[str, Tensor], group: PruningGroup) -> Tensor:
    """One score per unit of the group, averaged over the ranked weights that have elements in the unit."""
    total, count = (torch.zeros(group.n_units, dtype=torch.float64) for _ in range(2))
    for name in group.ranked:
        score = scores[name].detach().double().cpu()
        present = torch.bincount(group.ranked[name].flatten().cpu(), minlength=len(score)) > 0
        total[: len(score)] += torch.where(present, score, 0)
        count[: len(score)] += present
    return total / count.clamp_min(1)
