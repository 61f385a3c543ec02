"""Functions that group lasso and the L1 penalty on batch-norm scales share: strengths, and elements of units."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from lth.pruning.prunable import names_matching
from lth.pruning.structured.penalty import LayerStrength
from lth.pruning.structured.units import count_units


def strengths(layers: Iterable[LayerStrength], default: float, names: Sequence[str]) -> dict[str, float]:
    """Parameter name -> strength, in the order of `names`.

    Raises ValueError for a pattern that matches nothing, a name that two patterns match, a negative strength, and
    without any pattern.

    layers: patterns, or pairs of a pattern and its own strength
    default: strength of patterns without their own
    names: all parameters that may be penalised
    """
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


def unit_members(index: Tensor) -> Tensor:
    """Flat indices of the elements of every unit, units x elements. Raises ValueError for units of different sizes."""
    count = count_units(index)
    if index.numel() % count or torch.bincount(index.flatten()).unique().numel() != 1:
        raise ValueError(f"the {count} parts of a weight of {index.numel()} elements are not all of one size")
    return index.flatten().argsort(stable=True).view(count, -1)
