"""The types of a criterion, its data and its scores."""

from collections.abc import Callable, Iterator
from typing import Any, Protocol

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from lth.pruning.masks import Masks
from lth.pruning.topk import Scores


class Batches(Protocol):
    """Training data and loss for scoring: batches without augmentation, on the network's device.

    Every rank sees the same batches, or takes the masks of rank 0.
    """

    classes: int
    image_shape: tuple[int, int, int]  # channels, height, width

    def draw(self, n: int) -> Iterator[Any]:
        """`n` batches, of images and labels in a run of lth, in an order fixed by the pruning seed."""

    def per_class(self, k: int) -> tuple[Tensor, Tensor]:
        """One batch with `k` samples of every class."""

    def loss(self, net: Callable[..., Any], batch: Any) -> Tensor:
        """The mean loss of a batch, a scalar; cross-entropy unless a subclass has another.

        net: the network, or a function that changes its outputs (GraSP divides them by a temperature)
        batch: as `draw` and `per_class` return them
        """
        x, y = batch
        return cross_entropy(net(x), y)


class Criterion(Protocol):
    """Scores each prunable weight; larger = keep. It may change the network and random state: `prune` restores them."""

    def __call__(self, net: nn.Module, masks: Masks, batches: Batches | None) -> Scores: ...


__all__ = ["Batches", "Criterion", "Scores"]
