"""What every dataset offers: sizes, splits, seeds and the place among ranks, whatever its images are kept in."""

from collections.abc import Iterator
from typing import Any

import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor

from lth.datamodules.loader import Batch, batches
from lth.datamodules.parts import check_fraction, check_val_size, held_out, per_class, split
from lth.pruning.seeds import generator

ORDERS = ("per_level", "same")


class Dataset(LightningDataModule):
    """Labelled images for training, validation and test.

    root: folder of the files; unused by datasets that have none.
    image_size: height and width in pixels of what is validated and tested on.
    scale: the pixel value that counts as 1.0.
    val_size: held out from the training set, a count or a fraction below 1; drawn by split_seed alone.
    subsample_frac: fraction of what is left that is trained on, over 0 and up to 1; drawn by split_seed alone.
    batch_size: global, over all ranks; eval_batch_size: per device.
    order: per_level draws order and augmentation anew in every level; same repeats level 0's in every level.
    seed: of order and augmentation.

    Set `level` before each fit. Sizes are known after `prepare_data()` and `setup()`, with or without a trainer.
    """

    level = 0

    def __init__(
        self,
        *,
        root: str | None = None,
        classes: int,
        channels: int,
        image_size: int,
        scale: float,
        val_size: int | float = 0,
        subsample_frac: float = 1.0,
        split_seed: int = 0,
        batch_size: int = 128,
        eval_batch_size: int = 1024,
        drop_last: bool = False,
        order: str = "per_level",
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_val_size(val_size)
        check_fraction("subsample_frac", subsample_frac, whole=True)
        for name, size in (("batch_size", batch_size), ("eval_batch_size", eval_batch_size)):
            if size < 1:
                raise ValueError(f"{name}={size}; valid: 1 or more")
        if order not in ORDERS:
            raise ValueError(f"order={order!r}; valid: {', '.join(ORDERS)}")
        self.root, self.classes, self.channels, self.image_size, self.scale = root, classes, channels, image_size, scale
        self.val_size, self.subsample_frac, self.split_seed = val_size, subsample_frac, split_seed
        self.batch_size, self.eval_batch_size, self.drop_last = batch_size, eval_batch_size, drop_last
        self.order, self.seed = order, seed
        self.fetched = False

    def fetch(self, root: str | None) -> None:
        """Download or prepare what `root` lacks; called on one rank of each node."""

    def prepare_data(self) -> None:
        if not self.fetched:
            self.fetch(self.root)
            self.fetched = True

    def apart(self, labels: Tensor, count: int, *key: int | str) -> tuple[Tensor, Tensor]:
        """Indices of all samples but `count`, and of those, each ascending; drawn by `key`. A subclass may stratify."""
        return split(len(labels), count, *key)

    def divided(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Indices of what is trained and of what is validated on, each ascending: the same for all replicates."""
        kept, held = self.apart(labels, held_out(len(labels), self.val_size), "split", self.split_seed)
        if self.subsample_frac < 1:
            count = max(1, round(self.subsample_frac * len(kept)))
            kept = kept[self.apart(labels[kept], count, "subsample", self.split_seed)[1]]
        return kept, held

    @property
    def train_labels(self) -> Tensor:
        """Labels of the training samples, without those held out for validation."""
        raise NotImplementedError

    def plain(self, index: Tensor) -> Batch:
        """The training samples `index` without augmentation, as one batch on the training device."""
        raise NotImplementedError

    @property
    def train_size(self) -> int:
        """Training samples, without those held out for validation."""
        return len(self.train_labels)

    @property
    def device(self) -> torch.device:
        """Where training happens; the CPU without a trainer."""
        return torch.device("cpu") if self.trainer is None else self.trainer.strategy.root_device

    @property
    def rank(self) -> int:
        return 0 if self.trainer is None else self.trainer.global_rank

    @property
    def world(self) -> int:
        return 1 if self.trainer is None else self.trainer.world_size

    @property
    def steps_per_epoch(self) -> int:
        """Batches per epoch, the same on every rank.

        Ranks count only where they leave out a last batch too small for them, see `batches`.
        """
        return batches(self.train_size, self.batch_size, self.world, self.drop_last)

    @property
    def drawn_level(self) -> int:
        """The level that order and augmentation are drawn by."""
        return 0 if self.order == "same" else self.level

    def refuse_no_batch(self) -> None:
        """ValueError where drop_last leaves nothing to train on; once the sizes are known."""
        if self.drop_last and self.batch_size > self.train_size:
            most = self.train_size
            raise ValueError(f"batch_size={self.batch_size} with drop_last leaves no batch; valid: 1..{most}")

    def epoch_of_trainer(self) -> Any:
        """A function that tells the trainer's epoch; None without a trainer."""
        trainer = self.trainer
        return None if trainer is None else lambda: trainer.current_epoch

    def scoring_order(self, seed: int | str) -> Tensor:
        """All training samples in an order drawn by `seed` alone."""
        return torch.randperm(self.train_size, generator=generator("scoring", seed))

    def scoring_batches(self, seed: int | str, batch_size: int | None = None) -> Iterator[Batch]:
        """One pass over the training set without augmentation, in an order drawn by `seed`; all ranks get all of it."""
        return (self.plain(index) for index in self.scoring_order(seed).split(batch_size or self.batch_size))

    def per_class(self, k: int, seed: int | str) -> Batch:
        """k training samples of every class without augmentation, as one batch in random order, equal on all ranks."""
        return self.plain(per_class(self.train_labels.cpu(), self.classes, k, seed))
