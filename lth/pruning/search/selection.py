"""What a rule makes of scores, written into the same masks in every step."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lth.pruning.search.rule import by_group


class Selection:
    """Masks of the shapes of `scores`, filled anew by every call.

    groups: tensors that are one layer to the rule (`by_group`); without, each is its own. Keeps 1-D views of the
    contiguous `scores` and of `flags` (1 = may be used; none at all = everything may), so that a step reshapes no
    layer: whoever gives a tensor another storage (`module.to(device)`) makes another selection. A call returns the same
    tensors each time; who keeps them longer than until the next call copies them.
    """

    def __init__(
        self, scores: Sequence[Tensor], flags: Sequence[Tensor] = (), groups: Sequence[Sequence[int]] | None = None
    ):
        self._groups = groups
        self._scores = [score.detach().view(-1) for score in scores]
        self._flags = [flag.flatten() for flag in flags]
        self._masks = [torch.empty_like(score, requires_grad=False) for score in scores]
        self._rows = [mask.view(-1) for mask in self._masks]

    @torch.no_grad()
    def __call__(self, rule: Any, density: float) -> list[Tensor]:
        """The masks that `rule` makes of the scores as they are now, at `density`."""
        rule = rule if self._groups is None else by_group(rule, self._groups)
        torch._foreach_copy_(self._rows, rule(self._scores, self._flags, density))
        return self._masks
