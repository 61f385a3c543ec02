"""Support: masks that restrict a method from outside, e.g. an Erdos-Renyi graph within which IMP prunes."""

from collections.abc import Sequence
from functools import partial

from torch import nn

from lth.pruning.allocation import Allocation, fixing
from lth.pruning.criteria.random_scores import random
from lth.pruning.criterion import Scores
from lth.pruning.masks import Masks
from lth.pruning.position import Placement, by_score
from lth.pruning.prune import prune
from lth.pruning.repair import Repair, no_repair
from lth.pruning.seeds import derive


def everything(net: nn.Module, masks: Masks, density: float = 1.0) -> Masks:
    """`masks` themselves: no restriction. `net` is not used. Raises ValueError for a density other than 1."""
    if density != 1:
        raise ValueError(f"support.density={density} needs a support: support=erk, balanced, uniform, ...")
    return masks


def sampled(
    net: nn.Module,
    masks: Masks,
    density: float,
    *,
    allocation: Allocation,
    placement: Placement = by_score,
    repair: Repair = no_repair,
    dense: Sequence[str] = (),
    seed: int = 0,
    exact: bool = True,
) -> Masks:
    """A random mask with the layer counts of `allocation` at `density`, drawn from a random stream of its own.

    allocation: see `lth.pruning.allocation`
    placement: positions within a layer (`lth.pruning.position`)
    repair: how units without weights are repaired (`lth.pruning.repair`)
    dense: name patterns of layers that keep every weight
    seed: the pruning seed
    exact: True raises ValueError unless the allocation keeps exactly round(density * total) weights
    """
    support_seed = derive("support", seed)
    allocation = partial(fixing, base=allocation, dense=dense)

    def scores(net: nn.Module, masks: Masks, batches: object) -> Scores:
        return random(net, masks, None, seed=support_seed)

    drawn = prune(net, masks, density, scores, allocation, placement=partial(placement, seed=support_seed), exact=exact)
    return repair(net, drawn, support_seed)
