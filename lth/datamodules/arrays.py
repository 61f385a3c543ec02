"""A dataset as one tensor on the training device, placed there once per run however many levels the run has."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor

from lth.datamodules.augment import Augment, draw, pad
from lth.datamodules.loader import ArrayLoader, Batch, FixedLoader, batches
from lth.datamodules.normalise import STANDARDISE, computed, given
from lth.datamodules.parts import check, check_val_size, held_out, per_class, split
from lth.pruning.seeds import generator

ORDERS = ("per_level", "same")
Parts = tuple[Tensor, Tensor, Tensor, Tensor]


class Arrays(LightningDataModule):
    """Small images as uint8 (N, C, H, W) and int64 labels; a subclass says in `read` where they come from.

    root: folder of the files; unused by datasets that have none.
    image_size: height and width in pixels.
    scale: the pixel value that counts as 1.0.
    mean, std: one number or one per channel, in units of pixel / scale.
    standardise: null uses mean and std as given; channel or pixel computes them from the training part, less what is
        held out for validation; std_eps is then added to the std, and is needed where a pixel never changes.
    val_size: held out from the training set, a count or a fraction below 1; drawn by split_seed alone.
    batch_size: global, over all ranks; eval_batch_size: per device.
    order: per_level draws order and augmentation anew in every level; same repeats level 0's in every level.
    seed: of order and augmentation.
    augment: crop, crop_mode, flip, cutout, see `Augment`.

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
        mean: float | Sequence[float] | None = None,
        std: float | Sequence[float] | None = None,
        standardise: str | None = None,
        std_eps: float = 0.0,
        val_size: int | float = 0,
        split_seed: int = 0,
        batch_size: int = 128,
        eval_batch_size: int = 1024,
        drop_last: bool = False,
        order: str = "per_level",
        seed: int = 0,
        augment: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        check_val_size(val_size)
        for name, size in (("batch_size", batch_size), ("eval_batch_size", eval_batch_size)):
            if size < 1:
                raise ValueError(f"{name}={size}; valid: 1 or more")
        if order not in ORDERS:
            raise ValueError(f"order={order!r}; valid: {', '.join(ORDERS)}")
        if standardise not in STANDARDISE:
            raise ValueError(f"standardise={standardise!r}; valid: null, channel, pixel")
        if standardise is None:
            self.normalise = given(mean, std, scale, channels)
        self.augment = Augment.of(augment or {}, image_size)
        self.root, self.classes, self.channels, self.image_size, self.scale = root, classes, channels, image_size, scale
        self.standardise, self.std_eps = standardise, std_eps
        self.val_size, self.split_seed = val_size, split_seed
        self.batch_size, self.eval_batch_size, self.drop_last = batch_size, eval_batch_size, drop_last
        self.order, self.seed = order, seed
        self.fetched = False
        self.parts: dict[str, tuple[Tensor, Tensor]] = {}

    def read(self, root: str | None) -> Parts:
        """(train images, train labels, test images, test labels): uint8 (N, C, H, W) and int64 (N,), on the CPU."""
        raise NotImplementedError

    def fetch(self, root: str | None) -> None:
        """Download what `root` lacks; called on one rank of each node."""

    def prepare_data(self) -> None:
        if not self.fetched:
            self.fetch(self.root)
            self.fetched = True

    def setup(self, stage: str | None = None) -> None:
        """Read, check and split, in the first of a run's many calls."""
        if self.parts:
            return
        train_x, train_y, test_x, test_y = self.read(self.root)
        shape = (self.channels, self.image_size, self.image_size)
        check("training", train_x, train_y, shape, self.classes)
        check("test", test_x, test_y, shape, self.classes)
        kept, held = split(len(train_y), held_out(len(train_y), self.val_size), self.split_seed)
        if self.drop_last and self.batch_size > len(kept):
            raise ValueError(f"batch_size={self.batch_size} with drop_last leaves no batch; valid: 1..{len(kept)}")
        if self.standardise is not None:
            self.normalise = computed(train_x[kept], self.scale, self.standardise, self.std_eps)
        self.parts = {
            "train": (pad(train_x[kept], self.augment.crop, self.augment.crop_mode), train_y[kept]),
            "val": (train_x[held], train_y[held]),
            "test": (test_x, test_y),
        }

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
    def train_size(self) -> int:
        """Training samples, without those held out for validation."""
        return len(self.part("train")[1])

    @property
    def steps_per_epoch(self) -> int:
        """Batches per epoch, the same on every rank.

        Ranks count only where they leave out a last batch too small for them, see `batches`.
        """
        return batches(self.train_size, self.batch_size, self.world, self.drop_last)

    def part(self, name: str) -> tuple[Tensor, Tensor]:
        """Images and labels of train (padded), val or test, on the training device from the first call on."""
        if not self.parts:
            raise RuntimeError("the data are not read yet: call prepare_data() and setup() first")
        self.parts = {key: (x.to(self.device), y.to(self.device)) for key, (x, y) in self.parts.items()}
        self.normalise = self.normalise.to(self.device)
        return self.parts[name]

    def train_dataloader(self) -> ArrayLoader:
        level = 0 if self.order == "same" else self.level
        images, labels = self.part("train")
        trainer = self.trainer
        return ArrayLoader(
            images,
            labels,
            self.normalise,
            partial(draw, len(labels), self.image_size, self.augment, self.seed, level),
            self.augment,
            batch_size=self.batch_size,
            rank=self.rank,
            world=self.world,
            drop_last=self.drop_last,
            current_epoch=None if trainer is None else lambda: trainer.current_epoch,
        )

    def val_dataloader(self) -> FixedLoader | list[FixedLoader]:
        """Nothing to validate on (`[]`) where val_size is 0."""
        return self.fixed("val") if len(self.part("val")[1]) else []

    def test_dataloader(self) -> FixedLoader:
        return self.fixed("test")

    def fixed(self, name: str) -> FixedLoader:
        return FixedLoader(*self.part(name), self.normalise, self.eval_batch_size, self.rank, self.world)

    def plain(self, index: Tensor) -> Batch:
        """The training samples `index` without augmentation."""
        images, labels = self.part("train")
        border, index = self.augment.crop, index.to(self.device)
        inner = images[..., border : border + self.image_size, border : border + self.image_size]
        return self.normalise(inner.index_select(0, index)), labels[index]

    def scoring_batches(self, seed: int | str, batch_size: int | None = None) -> Iterator[Batch]:
        """One pass over the training set without augmentation, in an order drawn by `seed`; all ranks get all of it."""
        order = torch.randperm(self.train_size, generator=generator("scoring", seed))
        return (self.plain(index) for index in order.split(batch_size or self.batch_size))

    def per_class(self, k: int, seed: int | str) -> Batch:
        """k training samples of every class without augmentation, as one batch in random order, equal on all ranks."""
        return self.plain(per_class(self.part("train")[1].cpu(), self.classes, k, seed))
