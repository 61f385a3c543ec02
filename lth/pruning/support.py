"""Support: masks given from outside, in which a method must stay; e.g. an Erdos-Renyi net in which IMP then works."""

from collections.abc import Sequence
from functools import partial

from torch import nn

from lth.pruning.allocation import Allocation, fixing
from lth.pruning.criteria.random import random
from lth.pruning.criterion import Scores
from lth.pruning.masks import Masks
from lth.pruning.position import Placement, by_score
from lth.pruning.prune import prune
from lth.pruning.repair import Repair, leave
from lth.pruning.seeds import derive


def everything(net: nn.Module, masks: Masks, density: float = 1.0) -> Masks:
    """No restriction."""
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
    repair: Repair = leave,
    dense: Sequence[str] = (),
    seed: int = 0,
    exact: bool = True,
) -> Masks:
    """A random sparse net with the layer counts of `allocation` at `density`; independent of any later random mask.

    dense: name patterns of layers the support holds whole.
    """
    salt = derive("support", seed)
    allocation = partial(fixing, base=allocation, dense=dense)

    def scores(net: nn.Module, masks: Masks, batches: object) -> Scores:
        return random(net, masks, None, seed=salt)

    drawn = prune(net, masks, density, scores, allocation, placement=placement, seed=salt, exact=exact)
    return repair(net, drawn, salt)
