"""What a criterion is given and what it returns."""

from collections.abc import Iterator
from typing import Protocol

from torch import Tensor, nn

from lth.pruning.masks import Masks
from lth.pruning.topk import Scores


class Batches(Protocol):
    """Un-augmented training data a criterion may look at, on the network's device, the same on every rank."""

    classes: int
    image_shape: tuple[int, int, int]  # channels, height, width

    def draw(self, n: int) -> Iterator[tuple[Tensor, Tensor]]:
        """`n` batches of images and labels, in an order fixed by the pruning seed."""

    def per_class(self, k: int) -> tuple[Tensor, Tensor]:
        """One batch with `k` samples of every class."""


class Criterion(Protocol):
    """Score each prunable weight, larger = keep. Pure: `prune` undoes whatever it does to network and random state."""

    def __call__(self, net: nn.Module, masks: Masks, batches: Batches | None) -> Scores: ...


__all__ = ["Batches", "Criterion", "Scores"]
