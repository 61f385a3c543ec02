"""The prunable weights among the tensors of a file, chosen by name and shape, never by their values."""

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

import torch
from torch import Tensor

_OF_RECURRENT = re.compile(r"(^|\.)weight_(ih|hh|hr)(_l\d+)?(_reverse)?$")


def scope(weights: Mapping[str, Tensor], include: Sequence[str] = ("*",), exclude: Sequence[str] = ()) -> list[str]:
    """Names of the prunable weights of a state dict, whose layers are not known.

    These are floating-point tensors of two or more dimensions whose names end in `weight`, or in recurrent layers in
    `weight_ih_l0` and the like.

    include, exclude: globs on whole parameter names that narrow the choice

    Raises ValueError for a pattern that matches no prunable weight.
    """
    names = [n for n, w in weights.items() if _is_matrix(w) and (n.endswith("weight") or _OF_RECURRENT.search(n))]
    for pattern in (*include, *exclude):
        if not _matching([pattern], names):
            raise ValueError(f"pattern {pattern!r} matches no prunable weight; there are {names}")
    return [n for n in names if n in _matching(include, names) - _matching(exclude, names)]


def complete(
    masks: Mapping[str, Tensor], weights: Mapping[str, Tensor], names: Sequence[str] | None = None
) -> dict[str, Tensor]:
    """Bool masks of all prunable weights.

    masks: 0/1 tensors; weights without one get a mask of ones
    weights: the whole state
    names: the prunable weights; None: all that have a mask and two or more dimensions

    Raises ValueError for weights that are NaN, for a mask of an unknown name or of another shape than its weight, and
    for one outside `names` that prunes: lth trains biases and batch norm unmasked.
    """
    unknown = [n for n in masks if n not in weights]
    wrong = [
        f"{n}: mask {tuple(m.shape)}, weight {tuple(weights[n].shape)}"
        for n, m in masks.items()
        if n in weights and weights[n].shape != m.shape
    ]
    if unknown or wrong:
        raise ValueError(f"the masks do not fit the weights: unknown {unknown}, wrong shape {wrong}")
    inside = set(names) if names is not None else {n for n in masks if _is_matrix(weights[n])}
    outside = [n for n, m in masks.items() if n not in inside and not bool(m.all())]
    if outside:
        raise ValueError(f"these are pruned, but are not prunable weights: {outside}")
    if damaged := [n for n, w in weights.items() if bool(w.isnan().any())]:
        raise ValueError(f"these weights are not numbers (NaN): {damaged}")
    if not inside:
        raise ValueError("there is no mask of a conv or linear weight")
    order = [*(n for n in masks if n in inside), *(n for n in weights if n in inside and n not in masks)]
    return {n: masks[n].bool() if n in masks else torch.ones(weights[n].shape, dtype=torch.bool) for n in order}


def from_zeros(weights: Mapping[str, Tensor], names: Sequence[str]) -> dict[str, Tensor]:
    """Masks that prune the exact zeros of the weights `names`. Raises ValueError if there is no zero."""
    masks = {name: weights[name] != 0 for name in names}
    if all(bool(mask.all()) for mask in masks.values()):
        raise ValueError(f"there is no zero in {list(names)}: it is not pruned, or its file stores unmasked weights")
    return masks


def _is_matrix(weight: Tensor) -> bool:
    return weight.dim() >= 2 and weight.is_floating_point()


def _matching(patterns: Sequence[str], names: Sequence[str]) -> set[str]:
    return {name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)}
