"""A dataset as one tensor, which is copied to the training device once for all levels of a run."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor

from lth.datamodules._augment import Augment, draw, pad
from lth.datamodules._loader import ArrayLoader, Batch, FixedLoader
from lth.datamodules._normalise import STANDARDISE, computed, given
from lth.datamodules._splits import check, check_parts
from lth.datamodules.dataset import Dataset

Parts = tuple[Tensor, Tensor, Tensor, Tensor]  # training images and labels, test images and labels


class Arrays(Dataset):
    """Small images; subclasses implement `read`.

    mean, std: one number or one per channel, in units of pixel / scale; None for both = standardise per channel
    standardise: null uses mean and std as given; channel or pixel computes them, per channel or per pixel, from the
        training samples that are not held out for validation
    std_eps: added to a computed std; needed if a pixel is constant
    augment: crop, crop_mode, flip, cutout, see `Augment`
    dataset: the other keys, see `Dataset`
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
        if standardise is None and mean is None and std is None:
            standardise = "channel"
        if standardise is None:
            self.normalise = given(mean, std, self.scale, self.channels)
        self.augment = Augment.of(augment or {}, self.image_size)
        self.standardise, self.std_eps = standardise, std_eps
        self._parts: dict[str, tuple[Tensor, Tensor]] = {}

    @abstractmethod
    def read(self, root: str | None) -> Parts:
        """Training images and labels, test images and labels, on the CPU.

        Images are uint8 or float32 tensors (N, C, H, W), labels int64 tensors (N,) of 0..classes - 1. Downloads
        belong in `fetch`.
        """

    def setup(self, stage: str | None = None) -> None:
        """Read, check and split the data in the first call of a run."""
        if self._parts:
            return
        train_x, train_y, test_x, test_y = check_parts(self.read(self.root), f"{type(self).__name__}.read")
        shape = (self.channels, self.image_size, self.image_size)
        check("training", train_x, train_y, shape, self.classes)
        check("test", test_x, test_y, shape, self.classes)
        kept, held = self.train_and_val(train_y)
        if self.standardise is not None:
            self.normalise = computed(train_x[kept], self.scale, self.standardise, self.std_eps)
        self._parts = {
            "train": (pad(train_x[kept], self.augment.crop, self.augment.crop_mode), train_y[kept]),
            "val": (train_x[held], train_y[held]),
            "test": (test_x, test_y),
        }
        self.check_batches()

    @property
    def train_labels(self) -> Tensor:
        """Labels of the training samples, on the training device."""
        return self.part("train")[1]

    def part(self, name: str) -> tuple[Tensor, Tensor]:
        """Images and labels of train, val or test, on the training device. Training images are padded for cropping.

        Raises RuntimeError before `setup`.
        """
        if not self._parts:
            raise RuntimeError("the data are not read yet: call prepare_data() and setup() first")
        self._parts = {key: (x.to(self.device), y.to(self.device)) for key, (x, y) in self._parts.items()}
        self.normalise = self.normalise.to(self.device)
        return self._parts[name]

    def train_dataloader(self) -> ArrayLoader:
        images, labels = self.part("train")
        return ArrayLoader(
            images,
            labels,
            self.normalise,
            partial(draw, len(labels), self.image_size, self.augment, self.sampling.seed, self.stream_level),
            self.augment,
            self.batching,
        )

    def val_dataloader(self) -> FixedLoader | list[FixedLoader]:
        """Batches of the validation samples; an empty list if val_size is 0."""
        return self._fixed("val") if len(self.part("val")[1]) else []

    def test_dataloader(self) -> FixedLoader:
        return self._fixed("test")

    def _fixed(self, name: str) -> FixedLoader:
        eval_batch_size = self.sampling.eval_batch_size
        return FixedLoader(*self.part(name), self.normalise, eval_batch_size, self.rank, self.world)

    def unaugmented(self, index: Tensor) -> Batch:
        """The training samples `index` without augmentation, as one batch on the training device."""
        images, labels = self.part("train")
        border, index = self.augment.crop, index.to(self.device)
        inner = images[..., border : border + self.image_size, border : border + self.image_size]
        return self.normalise(inner.index_select(0, index)), labels[index]
