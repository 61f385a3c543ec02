"""A dataset as one tensor on the training device, placed there once per run however many levels the run has."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor

from lth.datamodules.augment import Augment, draw, pad
from lth.datamodules.dataset import Dataset
from lth.datamodules.loader import ArrayLoader, Batch, FixedLoader
from lth.datamodules.normalise import STANDARDISE, computed, given
from lth.datamodules.parts import check

Parts = tuple[Tensor, Tensor, Tensor, Tensor]


class Arrays(Dataset):
    """Small images as uint8 (N, C, H, W) and int64 labels; a subclass says in `read` where they come from.

    mean, std: one number or one per channel, in units of pixel / scale.
    standardise: null uses mean and std as given; channel or pixel computes them from the training part, less what is
        held out for validation; std_eps is then added to the std, and is needed where a pixel never changes.
    augment: crop, crop_mode, flip, cutout, see `Augment`.
    dataset: the other keys, see `Dataset`.
    """

    def __init__(
        self,
        *,
        mean: float | Sequence[float] | None = None,
        std: float | Sequence[float] | None = None,
        standardise: str | None = None,
        std_eps: float = 0.0,
        augment: Mapping[str, Any] | None = None,
        **dataset: Any,
    ) -> None:
        super().__init__(**dataset)
        if standardise not in STANDARDISE:
            raise ValueError(f"standardise={standardise!r}; valid: null, channel, pixel")
        if standardise is None:
            self.normalise = given(mean, std, self.scale, self.channels)
        self.augment = Augment.of(augment or {}, self.image_size)
        self.standardise, self.std_eps = standardise, std_eps
        self.parts: dict[str, tuple[Tensor, Tensor]] = {}

    def read(self, root: str | None) -> Parts:
        """(train images, train labels, test images, test labels): uint8 (N, C, H, W) and int64 (N,), on the CPU."""
        raise NotImplementedError

    def setup(self, stage: str | None = None) -> None:
        """Read, check and split, in the first of a run's many calls."""
        if self.parts:
            return
        train_x, train_y, test_x, test_y = self.read(self.root)
        shape = (self.channels, self.image_size, self.image_size)
        check("training", train_x, train_y, shape, self.classes)
        check("test", test_x, test_y, shape, self.classes)
        kept, held = self.divided(train_y)
        if self.standardise is not None:
            self.normalise = computed(train_x[kept], self.scale, self.standardise, self.std_eps)
        self.parts = {
            "train": (pad(train_x[kept], self.augment.crop, self.augment.crop_mode), train_y[kept]),
            "val": (train_x[held], train_y[held]),
            "test": (test_x, test_y),
        }
        self.refuse_no_batch()

    @property
    def train_labels(self) -> Tensor:
        return self.part("train")[1]

    def part(self, name: str) -> tuple[Tensor, Tensor]:
        """Images and labels of train (padded), val or test, on the training device from the first call on."""
        if not self.parts:
            raise RuntimeError("the data are not read yet: call prepare_data() and setup() first")
        self.parts = {key: (x.to(self.device), y.to(self.device)) for key, (x, y) in self.parts.items()}
        self.normalise = self.normalise.to(self.device)
        return self.parts[name]

    def train_dataloader(self) -> ArrayLoader:
        images, labels = self.part("train")
        return ArrayLoader(
            images,
            labels,
            self.normalise,
            partial(draw, len(labels), self.image_size, self.augment, self.seed, self.drawn_level),
            self.augment,
            batch_size=self.batch_size,
            rank=self.rank,
            world=self.world,
            drop_last=self.drop_last,
            current_epoch=self.epoch_of_trainer(),
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
