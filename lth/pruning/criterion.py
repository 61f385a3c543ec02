"""The types of a criterion, its data and its scores."""

from collections.abc import Iterator
from typing import Protocol

from torch import Tensor, nn

from lth.pruning.masks import Masks
from lth.pruning.topk import Scores


class Batches(Protocol):
    """Training data for scoring, without augmentation, on the network's device and the same on every rank."""

    classes: int
    image_shape: tuple[int, int, int]  # channels, height, width

    def draw(self, n: int) -> Iterator[tuple[Tensor, Tensor]]:
        """`n` batches of images and labels, in an order fixed by the pruning seed."""

    def per_class(self, k: int) -> tuple[Tensor, Tensor]:
        """One batch with `k` samples of every class."""


class Criterion(Protocol):
    """Scores each prunable weight; larger = keep. It may change the network and random state: `prune` restores them."""

    def __call__(self, net: nn.Module, masks: Masks, batches: Batches | None) -> Scores: ...


__all__ = ["Batches", "Criterion", "Scores"]
