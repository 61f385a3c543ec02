"""Group lasso: a penalty that drives whole units of a weight to zero (Wen et al. 2016, arXiv 1608.03665: SSL).

Network slimming (Liu et al. 2017, arXiv 1708.06519), the L1 norm of batch-norm scales, is the same with groups of one
scale each (`scales.py`).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from lth.pruning.masks import Masks
from lth.pruning.prunable import names_matching, prunable
from lth.pruning.structured.units import Unit, parts

EPS = 1e-12  # inside the root: a group of zeros has a gradient, zero; changes nothing over a norm of 1e-5
MEASURES: Mapping[str, Callable[[Tensor], Tensor]] = {  # groups x elements, absolute values -> one number a group
    "mean_abs": lambda values: values.mean(1),
    "max": lambda values: values.amax(1),
}


@dataclass(frozen=True)
class Groups:
    """The groups of one parameter. members: flat indices, groups x elements of a group.

    strength: lambda. removes: the weight a mask takes away when a group is removed, the parameter itself or another
    one, and which of its elements (groups x elements); None where nothing can tell.
    """

    parameter: str
    members: Tensor
    strength: float
    removes: tuple[str, Tensor] | None


Term = Callable[[nn.Module], list[Groups]]
Layer = str | Sequence[str | float]


def group_lasso(net: nn.Module, *, unit: Unit, layers: Sequence[Layer], strength: float = 0.0) -> list[Groups]:
    """strength x the sum over units of ||W_unit||, on the conv and linear weights that `layers` name, in the order of
    the network.

    layers: name patterns (`conv1`, `layer1.*.conv2`, `@first`, see `prunable`), or pairs of a pattern and the strength
    there. Raises ValueError for a pattern that matches nothing, a weight that two of them match, and a unit that a
    matched weight does not have.
    """
    weights = prunable(net)
    groups = []
    for name, own in strengths(layers, strength, list(weights)).items():
        members = members_of(unit(weights[name].shape)).to(weights[name].device)
        groups.append(Groups(name, members, own, (name, members)))
    return groups


def strengths(layers: Iterable[Layer], default: float, names: Sequence[str]) -> dict[str, float]:
    """Name -> strength, in the order of `names`. Raises ValueError for patterns that match none, or one another's."""
    found: dict[str, tuple[float, str]] = {}
    for layer in layers:
        pattern, strength = (layer, default) if isinstance(layer, str) else layer
        matched = names_matching(str(pattern), names)
        twice = sorted(matched & set(found))
        if not matched:
            raise ValueError(f"the pattern {pattern!r} matches nothing that can be penalised; there are {list(names)}")
        if twice:
            raise ValueError(f"{twice} are penalised twice, by {pattern!r} and by {found[twice[0]][1]!r}")
        if not float(strength) >= 0:
            raise ValueError(f"the strength {strength!r} of {pattern!r} is not a number of at least 0")
        found |= {name: (float(strength), str(pattern)) for name in matched}
    if not found:
        raise ValueError(f"no layers are given to penalise; there are {list(names)}")
    return {name: found[name][0] for name in names if name in found}


def members_of(numbers: Tensor) -> Tensor:
    """The flat indices of every part of a unit, parts x elements; all parts must have the same size."""
    count = parts(numbers)
    if numbers.numel() % count or torch.bincount(numbers.flatten()).unique().numel() != 1:
        raise ValueError(f"the {count} parts of a weight of {numbers.numel()} elements are not all of one size")
    return numbers.flatten().argsort(stable=True).view(count, -1)


def groups_of(net: nn.Module, terms: Iterable[Term]) -> list[Groups]:
    """The groups of several terms (channels and whole layers, say). Raises ValueError for a parameter that two terms
    divide in the same way: it would be penalised twice."""
    found = [groups for term in terms for groups in term(net)]
    for index, one in enumerate(found):
        for other in found[:index]:
            if one.parameter == other.parameter and torch.equal(one.members, other.members):
                raise ValueError(f"{one.parameter} is penalised twice, in the same {len(one.members)} groups")
    return found


def penalty(parameters: Mapping[str, Tensor], groups: Iterable[Groups], eps: float = EPS) -> Tensor:
    """The sum over all groups of strength x sqrt(sum of squares + eps): a scalar to add to the loss.

    Gathers each parameter once. The members of all groups differ, so the backward pass is deterministic on a GPU too.
    """
    terms = []
    for one in groups:
        values = parameters[one.parameter].flatten()[one.members]
        terms.append(one.strength * (values.square().sum(1) + eps).sqrt().sum())
    return torch.stack(terms).sum()


@torch.no_grad()
def without_weak(
    net: nn.Module, masks: Masks, groups: Iterable[Groups], below: float, measure: str = "mean_abs"
) -> Masks:
    """Copies of `masks` without what the groups remove that measure less than `below`: `mean_abs` or `max` of their
    elements. Raises ValueError for another measure, and for groups that remove nothing masks cover."""
    if measure not in MEASURES:
        raise ValueError(f"measure {measure!r} is not one of {list(MEASURES)}")
    parameters, kept = dict(net.named_parameters()), masks.clone()
    for one in groups:
        name, removed = removal(one, masks)
        weak = MEASURES[measure](parameters[one.parameter].flatten()[one.members].abs()) < below
        flat = kept[name].contiguous().flatten()
        flat[removed[weak].flatten()] = 0
        kept[name].copy_(flat.view(kept[name].shape))
    return kept


def removal(groups: Groups, masks: Mapping[str, Tensor]) -> tuple[str, Tensor]:
    """What removing the groups takes away. Raises ValueError where it is unknown, or no mask covers it."""
    if groups.removes is None:
        raise ValueError(f"which weights the groups of {groups.parameter} belong to cannot be told: no threshold there")
    if groups.removes[0] not in masks:
        raise ValueError(f"{groups.removes[0]} is not prunable here, so nothing of it can be masked: {list(masks)} are")
    return groups.removes


def moved(groups: Groups, fn: Callable[[Tensor], Tensor]) -> Groups:
    """The groups with their indices where `fn` puts them, beside a network that moves to another device."""
    removes = groups.removes and (groups.removes[0], fn(groups.removes[1]))
    return replace(groups, members=fn(groups.members), removes=removes)
