"""The interface of all datasets: sizes, splits, seeds and ranks, independent of how images are stored."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor

from lth.datamodules._loader import Batch, Batching, batches
from lth.datamodules._splits import check_fraction, check_per_class, check_val_size, held_out, per_class, split
from lth.pruning.seeds import generator

ORDERS = ("per_level", "same")


@dataclass(frozen=True)
class _Sampling:
    """Which samples are used, and in which batches.

    val_size: samples held out from the training set, a count or a fraction below 1; drawn by split_seed alone
    subsample_frac: fraction of the remaining samples to train on, over 0 and up to 1; drawn by split_seed alone
    split_seed: seed of both draws
    batch_size: global, over all ranks
    eval_batch_size: samples per device
    drop_last: leave out an incomplete last batch of training
    order: per_level draws order and augmentation anew in every level; same repeats those of level 0 in every level
    seed: seed of order and augmentation

    Raises ValueError for an invalid value.
    """

    val_size: int | float = 0
    subsample_frac: float = 1.0
    split_seed: int = 0
    batch_size: int = 128
    eval_batch_size: int = 1024
    drop_last: bool = False
    order: str = "per_level"
    seed: int = 0

    def __post_init__(self) -> None:
        check_val_size(self.val_size)
        check_fraction("subsample_frac", self.subsample_frac, whole=True)
        for name in ("batch_size", "eval_batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}; valid: 1 or more")
        if self.order not in ORDERS:
            raise ValueError(f"order={self.order!r}; valid: {', '.join(ORDERS)}")


class Dataset(LightningDataModule, ABC):
    """Labelled images for training, validation and test.

    root: folder of the files; unused by datasets that have none
    classes, channels: number of classes and of image channels
    image_size: height and width in pixels of validation and test images
    scale: the pixel value that counts as 1.0
    sampling: the other keys, see `_Sampling`

    Set `level` before each fit. Sizes are known after `prepare_data()` and `setup()`, with or without a trainer.
    """

    level = 0

    def __init__(
        self, *, root: str | None = None, classes: int, channels: int, image_size: int, scale: float, **sampling: Any
    ) -> None:
        super().__init__()
        self.sampling = _Sampling(**sampling)
        self.root, self.classes, self.channels, self.image_size, self.scale = root, classes, channels, image_size, scale
        self.fetched = False

    def fetch(self, root: str | None) -> None:
        """Download or prepare the files that `root` lacks; called on one rank of each node."""

    def prepare_data(self) -> None:
        if not self.fetched:
            self.fetch(self.root)
            self.fetched = True

    def split_off(self, labels: Tensor, count: int, *key: int | str) -> tuple[Tensor, Tensor]:
        """Split off `count` random samples. Returns the indices of the rest and of the split-off ones, each ascending.

        key: seeds the draw

        A subclass may stratify.
        """
        return split(len(labels), count, *key)

    def train_and_val(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Indices of the training and of the validation samples, each ascending; the same for all replicates."""
        rule = self.sampling
        kept, held = self.split_off(labels, held_out(len(labels), rule.val_size), "split", rule.split_seed)
        if rule.subsample_frac < 1:
            count = max(1, round(rule.subsample_frac * len(kept)))
            kept = kept[self.split_off(labels[kept], count, "subsample", rule.split_seed)[1]]
        return kept, held

    @property
    @abstractmethod
    def train_labels(self) -> Tensor:
        """Labels of the training samples, without those held out for validation."""

    @abstractmethod
    def unaugmented(self, index: Tensor) -> Batch:
        """The training samples `index` without augmentation, as one batch on the training device."""

    @property
    def train_size(self) -> int:
        """Number of training samples, without those held out for validation."""
        return len(self.train_labels)

    @property
    def device(self) -> torch.device:
        """The training device; the CPU without a trainer."""
        return torch.device("cpu") if self.trainer is None else self.trainer.strategy.root_device

    @property
    def rank(self) -> int:
        """The rank of this process; 0 without a trainer."""
        return 0 if self.trainer is None else self.trainer.global_rank

    @property
    def world(self) -> int:
        """The number of ranks; 1 without a trainer."""
        return 1 if self.trainer is None else self.trainer.world_size

    @property
    def steps_per_epoch(self) -> int:
        """Batches per epoch, the same on every rank.

        The number of ranks matters only for a last batch with fewer samples than ranks, see `batches`.
        """
        return batches(self.train_size, self.sampling.batch_size, self.world, self.sampling.drop_last)

    @property
    def stream_level(self) -> int:
        """The level that seeds order and augmentation."""
        return 0 if self.sampling.order == "same" else self.level

    @property
    def batching(self) -> Batching:
        """The training batches of this rank."""
        trainer = self.trainer
        epoch = None if trainer is None else lambda: trainer.current_epoch
        return Batching(self.sampling.batch_size, self.rank, self.world, self.sampling.drop_last, epoch)

    def check_batches(self) -> None:
        """Raise ValueError if drop_last leaves no training batch. Call it when the sizes are known."""
        size, most = self.sampling.batch_size, self.train_size
        if self.sampling.drop_last and size > most:
            raise ValueError(f"batch_size={size} with drop_last leaves no batch; valid: 1..{most}")

    def scoring_order(self, seed: int | str) -> Tensor:
        """Indices of all training samples in a random order that depends only on `seed`."""
        return torch.randperm(self.train_size, generator=generator("scoring", seed))

    def scoring_batches(self, seed: int | str, batch_size: int | None = None) -> Iterator[Batch]:
        """All training samples without augmentation, in an order that depends only on `seed`, equal on all ranks.

        batch_size: samples per batch; None = that of training
        """
        size = batch_size or self.sampling.batch_size
        return (self.unaugmented(index) for index in self.scoring_order(seed).split(size))

    def check_per_class(self, k: int) -> None:
        """Raise ValueError where a class has fewer than `k` training samples."""
        check_per_class(self.train_labels.cpu(), self.classes, k)

    def per_class(self, k: int, seed: int | str) -> Batch:
        """k training samples of every class without augmentation, as one batch in random order, equal on all ranks."""
        return self.unaugmented(per_class(self.train_labels.cpu(), self.classes, k, seed))
