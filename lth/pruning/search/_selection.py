"""Mask buffers that are allocated once and filled from the scores in each step."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


class Selection:
    """Masks of the shapes of `scores`; each call fills and returns the same tensors.

    scores: one contiguous tensor for each mask
    allowed: one 0/1 mask for each score tensor, 1 = may be used; empty = every weight may be used
    groups: indices of tensors that the rule sees as one layer (a weight and its bias); None = each by itself

    Keeps 1-D views of `scores`, and `allowed` flattened (a copy if not contiguous), so that a step reshapes nothing.
    Make a new selection when `allowed` changes or the tensors get another storage (`module.to(device)`), and copy masks
    that are needed beyond the next call.
    """

    def __init__(
        self, scores: Sequence[Tensor], allowed: Sequence[Tensor] = (), groups: Sequence[Sequence[int]] | None = None
    ):
        self._groups = groups
        self._scores = [score.detach().view(-1) for score in scores]
        self._allowed = [mask.flatten() for mask in allowed]
        self._masks = [torch.empty_like(score, requires_grad=False) for score in scores]
        self._rows = [mask.view(-1) for mask in self._masks]

    @torch.no_grad()
    def __call__(self, rule: Any, density: float) -> list[Tensor]:
        """The masks that `rule` makes of the current scores at `density`."""
        rule = rule if self._groups is None else _by_group(rule, self._groups)
        torch._foreach_copy_(self._rows, rule(self._scores, self._allowed, density))
        return self._masks


def _by_group(rule: Callable[..., list[Tensor]], groups: Sequence[Sequence[int]]) -> Callable[..., list[Tensor]]:
    """`rule`, given the concatenation of each group's tensors; its masks are split again."""

    def grouped(scores: Sequence[Tensor], allowed: Sequence[Tensor], density: float) -> list[Tensor]:
        joined = [
            [torch.cat([tensors[i].flatten() for i in group]) for group in groups if tensors]
            for tensors in (scores, allowed)
        ]
        masks: list[Tensor] = [scores[0]] * len(scores)
        for mask, group in zip(rule(*joined, density), groups, strict=True):
            for i, part in zip(group, mask.split([scores[i].numel() for i in group]), strict=True):
                masks[i] = part.view(scores[i].shape)
        return masks

    return grouped
