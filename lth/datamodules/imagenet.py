"""ImageNet (Russakovsky et al. 2015), or any images too many to keep decoded: folders of JPEGs, or .beton files."""

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lth.datamodules.dataset import Dataset
from lth.datamodules.ffcv.beton import Beton
from lth.datamodules.files import folder
from lth.datamodules.image_loader import FixedImages, ImageLoader, Images, Source
from lth.datamodules.image_tree import ImageTree, same_classes
from lth.datamodules.loader import Batch
from lth.datamodules.normalise import given
from lth.datamodules.parts import check_labels
from lth.datamodules.resized_crop import ResizedCrop, centred

LOADERS = ("ffcv", "torchvision")


class ImageNet(Dataset):
    """`root` holds train.beton and val.beton (loader=ffcv), or folders train and val, each with one folder of images
    for every class (loader=torchvision). Both number the images alike, so both give the same samples in the same
    order through the same windows; pixels differ by the decoders' rounding and resampling.

    Tested on is what ImageNet calls val; validated on is a part of the training set.
    loader: ffcv (decoding threads) or torchvision (decoding processes).
    workers: threads or processes per rank; null = the machine's cores, divided among its ranks.
    centre: side of the square cut out for evaluation, as a share of the image's shorter side.
    augment: scale, ratio, flip, sizes, see `ResizedCrop`.
    dataset: the other keys, see `Dataset`.
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
        if loader not in LOADERS:
            raise ValueError(f"loader={loader!r}; valid: {', '.join(LOADERS)}")
        if workers is not None and workers < 0:
            raise ValueError(f"workers={workers}; valid: 0 or more, or null")
        if not 0 < centre <= 1:
            raise ValueError(f"centre={centre}; valid: over 0 and up to 1, a share of the shorter side")
        if self.channels != 3:
            raise ValueError(f"channels={self.channels}; valid: 3, the images are decoded to colour")
        self.normalise = given(mean, std, self.scale, self.channels)
        self.augment = ResizedCrop.of(augment or {})
        self.loader, self.workers = loader, workers
        self.centre = partial(centred, share=centre)
        self.sources: dict[str, Source] = {}
        self.samples: dict[str, Tensor] = {}

    def setup(self, stage: str | None = None) -> None:
        """List, check and split, in the first of a run's many calls."""
        if self.samples:
            return
        train, test = self.opened(folder(self.root))
        found = int(train.labels.max()) + 1
        if found != self.classes:
            raise ValueError(f"dataset.classes={self.classes}, but {self.root} has {found}; valid: {found}")
        check_labels("test", test.labels, self.classes)
        kept, held = self.divided(train.labels)
        self.sources = {"train": train, "val": train, "test": test}
        self.samples = {"train": kept, "val": held, "test": torch.arange(len(test.labels))}
        self.refuse_no_batch()

    def opened(self, root: Path) -> tuple[Source, Source]:
        """The sources of training and test; an error that says what is missing and how to get it."""
        if self.loader == "torchvision":
            trees = [ImageTree(root / part, self.share_of_cores()) for part in ("train", "val")]
            same_classes(root, {part: tree.classes for part, tree in zip(("train", "val"), trees, strict=True)})
            return trees[0], trees[1]
        paths = [root / f"{part}.beton" for part in ("train", "val")]
        for path in paths:
            if not path.is_file():
                raise FileNotFoundError(
                    f"{path} is missing; make it from the folders {root}/train and {root}/val by "
                    f"`python -m lth.datamodules.ffcv.write_beton {root}`, or take dataset.loader=torchvision"
                )
        return Beton(paths[0], self.share_of_cores()), Beton(paths[1], self.share_of_cores())

    def share_of_cores(self) -> int:
        """Workers of this rank."""
        if self.workers is not None:
            return self.workers
        ranks = int(os.environ.get("LOCAL_WORLD_SIZE", 0)) or getattr(self.trainer, "num_devices", 1)
        return max(1, len(os.sched_getaffinity(0)) // ranks)

    def part(self, name: str) -> tuple[Images, Tensor]:
        """The images that train, val or test are some of, and which ones those are."""
        if not self.samples:
            raise RuntimeError("the data are not read yet: call prepare_data() and setup() first")
        source = self.sources[name]
        source.workers = self.share_of_cores()  # how many ranks there are is known since the trainer is
        return Images(source, self.normalise, self.device), self.samples[name]

    @property
    def train_labels(self) -> Tensor:
        images, samples = self.part("train")
        return images.source.labels[samples]

    def train_dataloader(self) -> ImageLoader:
        images, samples = self.part("train")
        return ImageLoader(
            images,
            samples,
            self.augment,
            self.image_size,
            (self.seed, self.drawn_level),
            batch_size=self.batch_size,
            rank=self.rank,
            world=self.world,
            drop_last=self.drop_last,
            current_epoch=self.epoch_of_trainer(),
        )

    def val_dataloader(self) -> FixedImages | list[FixedImages]:
        """Nothing to validate on (`[]`) where val_size is 0."""
        return self.fixed("val") if len(self.part("val")[1]) else []

    def test_dataloader(self) -> FixedImages:
        return self.fixed("test")

    def fixed(self, name: str) -> FixedImages:
        images, samples = self.part(name)
        return FixedImages(images, samples, self.centre, self.image_size, self.eval_batch_size, self.rank, self.world)

    def unaugmented(self, index: Tensor, batch_size: int) -> Iterator[Batch]:
        """The training samples `index` as they are evaluated, `batch_size` at a time."""
        images, samples = self.part("train")
        return images.read(samples[index.cpu()], self.centre, self.image_size, batch_size)

    def plain(self, index: Tensor) -> Batch:
        batches = self.unaugmented(index, len(index))
        batch = next(batches)
        batches.close()  # type: ignore[attr-defined]
        return batch

    def scoring_batches(self, seed: int | str, batch_size: int | None = None) -> Iterator[Batch]:
        return self.unaugmented(self.scoring_order(seed), batch_size or self.batch_size)
