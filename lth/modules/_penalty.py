"""The sum of penalties on groups of weights, and the masking of weak groups."""

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn

from lth.pruning.masks import Masks
from lth.pruning.structured.penalty import PenaltyGroups, PenaltyTerm

_EPS = 1e-12  # under the root: gives a group of zeros the gradient zero instead of NaN
MEASURES: Mapping[str, Callable[[Tensor], Tensor]] = {  # absolute values (groups x elements) -> one number per group
    "mean_abs": lambda values: values.mean(1),
    "max": lambda values: values.amax(1),
}


def penalty_groups(net: nn.Module, terms: Iterable[PenaltyTerm]) -> list[PenaltyGroups]:
    """The groups of several terms (channels and whole layers, for example).

    Raises ValueError for a parameter that two terms divide in the same way: it would be penalised twice.
    """
    found = [groups for term in terms for groups in term(net)]
    for i, groups in enumerate(found):
        for other in found[:i]:
            if groups.parameter == other.parameter and torch.equal(groups.members, other.members):
                raise ValueError(f"{groups.parameter} is penalised twice, in the same {len(groups.members)} groups")
    return found


def penalty(parameters: Mapping[str, Tensor], groups: Iterable[PenaltyGroups], eps: float = _EPS) -> Tensor:
    """Sum over all groups of strength * sqrt(sum of squares + eps): a differentiable scalar to add to the loss.

    Each entry of `groups` gathers its parameter once. No element is in two groups of an entry, so that the backward
    pass is deterministic on a GPU too.
    """
    terms = []
    for each in groups:
        values = parameters[each.parameter].flatten()[each.members]
        terms.append(each.strength * (values.square().sum(1) + eps).sqrt().sum())
    return torch.stack(terms).sum()


@torch.no_grad()
def mask_weak(
    net: nn.Module, masks: Masks, groups: Iterable[PenaltyGroups], below: float, measure: str = "mean_abs"
) -> Masks:
    """A copy of `masks` in which the groups with a measure under `below` are removed.

    Raises ValueError for an unknown measure, and for groups whose weights `masks` do not cover.

    below: threshold, in the units of the parameters
    measure: `mean_abs` or `max` of the absolute values of a group
    """
    parameters = dict(net.named_parameters())
    return _without(masks, [(each, _measured(each, parameters, measure) < below) for each in groups])


@torch.no_grad()
def mask_weakest(
    net: nn.Module, masks: Masks, groups: Iterable[PenaltyGroups], kept: int, measure: str = "mean_abs"
) -> Masks:
    """A copy of `masks` in which every parameter loses its weakest groups, each the same share of its groups.

    The share is the largest that leaves `kept` weights or more; every parameter keeps at least one group.
    Raises ValueError as `mask_weak`, and if more than `kept` weights are left with one group per parameter.

    kept: number of weights
    measure: as for `mask_weak`
    """
    parameters = dict(net.named_parameters())
    ranked = [(each, _measured(each, parameters, measure).argsort(stable=True).argsort()) for each in groups]
    shares = sorted({rank / len(ranks) for _, ranks in ranked for rank in range(len(ranks))})

    def without(share: float) -> Masks:
        return _without(masks, [(each, ranks < round(share * len(ranks), 6)) for each, ranks in ranked])

    low, high = 0, len(shares)  # shares from `high` on leave fewer than `kept`
    while low < high - 1:
        middle = (low + high) // 2
        low, high = (middle, high) if without(shares[middle]).kept >= kept else (low, middle)
    least = without(shares[-1]).kept
    if least > kept:
        raise ValueError(
            f"with one unit for each of method.layers {least} of {masks.total} weights are left: "
            f"{kept} cannot be reached; penalise more layers or raise sparsity.density to {least / masks.total:.2g}"
        )
    return without(shares[low])


def _measured(groups: PenaltyGroups, parameters: Mapping[str, Tensor], measure: str) -> Tensor:
    """The measure of each group."""
    if measure not in MEASURES:
        raise ValueError(f"measure {measure!r} is not one of {list(MEASURES)}")
    return MEASURES[measure](parameters[groups.parameter].flatten()[groups.members].abs())


def _without(masks: Masks, removed: Iterable[tuple[PenaltyGroups, Tensor]]) -> Masks:
    """A copy of `masks` without some groups: pairs of groups and whether each of them is removed."""
    kept = masks.clone()
    for groups, weak in removed:
        name, elements = groups.masked(masks)
        flat = kept[name].contiguous().flatten()
        flat[elements[weak].flatten()] = 0
        kept[name].copy_(flat.view(kept[name].shape))
    return kept
