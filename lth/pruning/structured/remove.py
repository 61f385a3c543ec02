"""How many parts go at a density, and which: the lowest, exactly as many, ties by number, never all of them."""

from collections.abc import Mapping

import torch
from torch import Tensor

from lth.pruning.structured.groups import Together, removed, without
from lth.pruning.topk import largest

TOLERANCE = 1e-9  # 0.3 * 10 is under 3


def count_removed(sparsity: float, units: int, group_size: int = 1) -> int:
    """floor(sparsity * units), down to a multiple of `group_size`; all of them only where sparsity is 1."""
    if not 0 <= sparsity <= 1:
        raise ValueError(f"a fraction of {sparsity} cannot be removed; it must lie in 0..1")
    if group_size < 1:
        raise ValueError(f"group_size {group_size} must be 1 or more")
    count = int(sparsity * units + TOLERANCE)
    if sparsity < 1:
        count = min(count, units - 1)
    return count - count % group_size


def remove(
    masks: Mapping[str, Tensor],
    together: Together,
    scores: Tensor,
    sparsity: float,
    group_size: int = 1,
    gone: int = 0,
) -> dict[str, Tensor]:
    """The masks that change when the lowest-ranked parts go until the fraction `sparsity` of them is gone.

    scores: one number a part. gone: how many parts do not count, because they had gone before. Parts that are gone
    stay so, and count: where as many are gone already nothing changes (an empty result).
    """
    left, dead = together.units - gone, removed(masks, together)
    target = gone + count_removed(sparsity, left, group_size)
    if target <= int(dead.sum()):
        return {}
    ranked = torch.where(dead, -torch.inf, scores.to(dead.device))
    kept = largest({together.name: ranked}, together.units - target)[together.name]
    return without(masks, together, kept)
