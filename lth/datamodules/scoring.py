"""The training data that a criterion may read."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from lth.pruning.criterion import Batches


class ScoringData(Batches):
    """Training batches without augmentation, the same on every rank (`lth.pruning.criterion.Batches`).

    datamodule: a `Dataset`
    seed, level: determine the order
    device, dtype: of the images; those of the network
    """

    def __init__(self, datamodule: Any, seed: int, level: int, device: Any, dtype: torch.dtype = torch.float32):
        self._data, self._seed, self._level, self._device, self._dtype = datamodule, seed, level, device, dtype
        self._sets = 0
        self.classes: int = datamodule.classes
        self.image_shape = image_shape_of(datamodule)

    def draw(self, n: int) -> Iterator[tuple[Tensor, Tensor]]:
        """`n` batches of the training batch size, in an order fixed by seed and level.

        An incomplete last batch is left out where the dataset's `drop_last` leaves it out of training.
        """
        rule = self._data.sampling
        least = rule.batch_size if rule.drop_last else 1
        batches = (b for b in self._data.scoring_batches(f"{self._seed}/{self._level}") if len(b[1]) >= least)
        return (self._on_device(batch) for batch, _ in zip(batches, range(n), strict=False))

    def per_class(self, k: int) -> tuple[Tensor, Tensor]:
        """One batch with `k` samples of every class, in random order; every call draws other samples."""
        self._sets += 1
        return self._on_device(self._data.per_class(k, f"{self._seed}/{self._level}/{self._sets}"))

    def _on_device(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return batch[0].to(self._device, self._dtype), batch[1].to(self._device)


def image_shape_of(datamodule: Any) -> tuple[int, int, int]:
    """Channels, height and width of one image."""
    size = datamodule.image_size
    height, width = (size, size) if isinstance(size, int) else size
    return datamodule.channels, height, width
