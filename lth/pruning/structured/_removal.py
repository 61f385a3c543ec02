"""Chooses the units that are removed at a density: the lowest scores, and of equal scores the higher indices."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lth.pruning.masks import Masks
from lth.pruning.paths import cubic
from lth.pruning.structured.groups import PruningGroup
from lth.pruning.topk import largest

_TOLERANCE = 1e-9  # in units: (1 - 0.9) * 10 is below 1 in floating point


@dataclass(frozen=True)
class Removal:
    """Density of the units over a rule's firings, along AGP's cubic path (Zhu & Gupta 2017, arXiv 1710.01878).

    Raises ValueError unless 1 >= start >= end >= 0.

    start: fraction of units kept at the first firing, 0..1
    end: fraction of units kept at the last firing, 0..1; required
    group_size: the number of removed units is rounded down to a multiple of it
    rest: True: densities are relative to the units alive when the rule first fires, as after thinning
    """

    start: float = 1.0
    end: float | None = None
    group_size: int = 1
    rest: bool = False

    def __post_init__(self) -> None:
        if self.end is None or not 0 <= self.end <= self.start <= 1:
            raise ValueError(
                "densities must be fractions that do not rise, 1 >= start >= end >= 0: "
                f"start={self.start}, end={self.end}"
            )

    def density(self, progress: float) -> float:
        """Fraction of units kept at a progress of 0 (first firing) to 1 (last firing)."""
        assert self.end is not None
        return cubic(progress, self.start, self.end)

    def prune(
        self,
        masks: Masks,
        groups: Sequence[PruningGroup],
        scores: Sequence[Tensor],
        progress: float,
        removed_before: Sequence[int],
    ) -> Masks:
        """New masks, in which every group has the density of this progress.

        scores: for each group, one score per unit
        progress: 0 at the first firing, 1 at the last
        removed_before: for each group, the number of units removed before the rule first fired (used with `rest`)
        """
        new, density = masks.clone(), self.density(progress)
        for group, score, before in zip(groups, scores, removed_before, strict=True):
            changed = _remove_lowest(new, group, score, density, self.group_size, before if self.rest else 0)
            new.copy_(new.bools() | changed)
        return new


def _count_removed(density: float, units: int, group_size: int = 1) -> int:
    """floor((1 - density) * units), rounded down to a multiple of `group_size`.

    At least one unit stays unless the density is 0. Raises ValueError for a density outside 0..1 or a group_size
    under 1.
    """
    sparsity = 1 - density
    if not 0 <= sparsity <= 1:
        raise ValueError(f"the density {density} of units does not lie in 0..1")
    if group_size < 1:
        raise ValueError(f"group_size {group_size} must be 1 or more")
    count = int(sparsity * units + _TOLERANCE)
    if sparsity < 1:
        count = min(count, units - 1)
    return count - count % group_size


def _remove_lowest(
    masks: Mapping[str, Tensor],
    group: PruningGroup,
    scores: Tensor,
    density: float,
    group_size: int = 1,
    removed_before: int = 0,
) -> dict[str, Tensor]:
    """The masks (bool) that change when the units with the lowest scores are removed until `density` is reached.

    Units that were removed before stay removed and are counted. The result is empty if no more are asked for.

    scores: one score per unit
    density: fraction of units kept, 0..1
    group_size: see `Removal`
    removed_before: number of units removed before the rule first fired; `density` is relative to the others
    """
    removed = group.removed(masks)
    target = removed_before + _count_removed(density, group.n_units - removed_before, group_size)
    if target <= int(removed.sum()):
        return {}
    ranked = torch.where(removed, -torch.inf, scores.to(removed.device))
    kept = largest({group.name: ranked}, group.n_units - target)[group.name]
    return group.keep_only(masks, kept)
