"""ImageNet (Russakovsky et al. 2015), or other images decoded batch by batch from JPEG folders or .beton files."""

import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lth.datamodules._files import folder
from lth.datamodules._image_loader import FixedImages, ImageLoader, Images, Source
from lth.datamodules._image_tree import ImageTree, check_same_classes
from lth.datamodules._loader import Batch
from lth.datamodules._normalise import given
from lth.datamodules._resized_crop import ResizedCrop, centre_windows
from lth.datamodules._splits import check_labels
from lth.datamodules.dataset import Dataset
from lth.datamodules.ffcv._beton import Beton

_LOADERS = ("ffcv", "torchvision")


class ImageNet(Dataset):
    """ImageNet in `root`: train.beton and val.beton, or folders train and val with one folder of images per class.

    The test set is ImageNet's val; validation samples are held out from train. Both loaders number the images alike and
    use the same order and crops; pixels differ by the decoders' rounding and resampling.

    mean, std: one number or one per channel, in units of pixel / scale
    loader: ffcv (.beton files, decoding threads) or torchvision (folders, decoding processes)
    workers: threads or processes per rank; null = the cores this process may use, divided by the machine's ranks
    centre: side of the centre crop for evaluation, as a fraction of the image's shorter side
    augment: scale, ratio, flip, sizes, see `ResizedCrop`
    dataset: the other keys, see `Dataset`
    """

    def __init__(
        self,
        *,
        mean: float | Sequence[float],
        std: float | Sequence[float],
        loader: str = "ffcv",
        workers: int | None = None,
        centre: float = 0.875,
        augment: Mapping[str, Any] | None = None,
        **dataset: Any,
    ) -> None:
        super().__init__(**dataset)
        if loader not in _LOADERS:
            raise ValueError(f"loader={loader!r}; valid: {', '.join(_LOADERS)}")
        if workers is not None and workers < 0:
            raise ValueError(f"workers={workers}; valid: 0 or more, or null")
        if not 0 < centre <= 1:
            raise ValueError(f"centre={centre}; valid: over 0 and up to 1, a fraction of the shorter side")
        if self.channels != 3:
            raise ValueError(f"channels={self.channels}; valid: 3, the images are decoded to colour")
        self.normalise = given(mean, std, self.scale, self.channels)
        self.augment = ResizedCrop.of(augment or {})
        self.loader, self.workers = loader, workers
        self.centre = partial(centre_windows, share=centre)
        self.sources: dict[str, Source] = {}
        self.samples: dict[str, Tensor] = {}

    def setup(self, stage: str | None = None) -> None:
        """List, check and split the images in the first call of a run."""
        if self.samples:
            return
        train, test = self._open(folder(self.root))
        found = int(train.labels.max()) + 1
        if found != self.classes:
            raise ValueError(f"dataset.classes={self.classes}, but {self.root} has {found}; valid: {found}")
        check_labels("test", test.labels, self.classes)
        kept, held = self.train_and_val(train.labels)
        self.sources = {"train": train, "val": train, "test": test}
        self.samples = {"train": kept, "val": held, "test": torch.arange(len(test.labels))}
        self.check_batches()

    def _open(self, root: Path) -> tuple[Source, Source]:
        """The sources of training and test images. Raises FileNotFoundError that says how to make a missing file."""
        if self.loader == "torchvision":
            trees = [ImageTree(root / part, self._workers_here()) for part in ("train", "val")]
            check_same_classes(root, {part: tree.classes for part, tree in zip(("train", "val"), trees, strict=True)})
            return trees[0], trees[1]
        paths = [root / f"{part}.beton" for part in ("train", "val")]
        for path in paths:
            if not path.is_file():
                raise FileNotFoundError(
                    f"{path} is missing; make it from the folders {root}/train and {root}/val by "
                    f"`python -m lth.datamodules.ffcv.write_beton {root}`, or take dataset.loader=torchvision"
                )
        return Beton(paths[0], self._workers_here()), Beton(paths[1], self._workers_here())

    def _workers_here(self) -> int:
        """Number of workers of this rank."""
        if self.workers is not None:
            return self.workers
        ranks = int(os.environ.get("LOCAL_WORLD_SIZE", 0)) or getattr(self.trainer, "num_devices", 1)
        return max(1, len(os.sched_getaffinity(0)) // ranks)

    def _part(self, name: str) -> tuple[Images, Tensor]:
        """The source of train, val or test, and the indices of its images there."""
        if not self.samples:
            raise RuntimeError("the data are not read yet: call prepare_data() and setup() first")
        source = self.sources[name]
        source.workers = self._workers_here()  # set here, as the number of ranks is unknown before there is a trainer
        return Images(source, self.normalise, self.device), self.samples[name]

    @property
    def train_labels(self) -> Tensor:
        """Labels of the training samples, on the CPU."""
        images, samples = self._part("train")
        return images.source.labels[samples]

    def train_dataloader(self) -> ImageLoader:
        images, samples = self._part("train")
        return ImageLoader(
            images,
            samples,
            self.augment,
            self.image_size,
            (self.sampling.seed, self.stream_level),
            self.batching,
        )

    def val_dataloader(self) -> FixedImages | list[FixedImages]:
        """Batches of the validation samples; an empty list if val_size is 0."""
        return self._fixed("val") if len(self._part("val")[1]) else []

    def test_dataloader(self) -> FixedImages:
        return self._fixed("test")

    def _fixed(self, name: str) -> FixedImages:
        images, samples = self._part(name)
        eval_batch_size = self.sampling.eval_batch_size
        return FixedImages(images, samples, self.centre, self.image_size, eval_batch_size, self.rank, self.world)

    def _unaugmented_batches(self, index: Tensor, batch_size: int) -> Generator[Batch, None, None]:
        """The training samples `index` with the centre crop of evaluation, in batches."""
        images, samples = self._part("train")
        return images.read(samples[index.cpu()], self.centre, self.image_size, batch_size)

    def unaugmented(self, index: Tensor) -> Batch:
        """The training samples `index` with the centre crop of evaluation, as one batch on the training device."""
        with closing(self._unaugmented_batches(index, len(index))) as batches:  # ends the reader's processes
            return next(batches)

    def scoring_batches(self, seed: int | str, batch_size: int | None = None) -> Iterator[Batch]:
        """As `Dataset.scoring_batches`, decoded batch by batch."""
        return self._unaugmented_batches(self.scoring_order(seed), batch_size or self.sampling.batch_size)
