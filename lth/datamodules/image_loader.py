"""Batches of images too large to keep decoded: a source decodes windows of them, the device flips and normalises."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from lth.datamodules.augment import flip, flips
from lth.datamodules.loader import Batch, EpochLoader, batches
from lth.datamodules.normalise import Normalise
from lth.datamodules.resized_crop import ResizedCrop, Sizes, Windows
from lth.pruning.seeds import generator

Cut = Callable[[Sizes, int], Windows]


class Source(Protocol):
    """Stored images, by index.

    labels: int64 (n,), on the CPU. workers: threads or processes that decode.
    """

    labels: Tensor
    workers: int

    def read(self, samples: Tensor, cut: Cut, pixels: int, batch_size: int) -> Iterator[Tensor]:
        """The images `samples` in that order as uint8 (B, 3, pixels, pixels) on the CPU, `batch_size` at a time.

        cut: gives the windows of images of these sizes, of which the first is image `first`. A batch may be
        overwritten when the next one is asked for.
        """


class Images(NamedTuple):
    """A source whose batches come as float32 on a device."""

    source: Source
    normalise: Normalise
    device: torch.device

    def read(
        self, samples: Tensor, cut: Cut, pixels: int, batch_size: int, flipped: Tensor | None = None
    ) -> Iterator[Batch]:
        """Batches (x (B, 3, pixels, pixels), y (B,)); flipped: which images of the source to mirror, (n,) bool."""
        copies = OwnStream(self.device) if self.device.type == "cuda" else None
        normalise = self.normalise.to(self.device)
        labels = self.source.labels[samples].to(self.device)
        turned = None if flipped is None else flipped[samples].to(self.device)
        given = 0
        for stored in self.source.read(samples, cut, pixels, batch_size):
            here = slice(given, given + len(stored))
            given += len(stored)
            x = stored if copies is None else copies(stored)
            # normalising makes a new tensor: nothing given out here is overwritten by the source's next batch
            yield normalise(x if turned is None else flip(x, turned[here])), labels[here]


class OwnStream:
    """Copies to a CUDA device beside what it computes. The host waits for the copy, never for the computing."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.stream = device, torch.cuda.Stream(device)

    def __call__(self, images: Tensor) -> Tensor:
        with torch.cuda.stream(self.stream):
            copy = images.to(self.device, non_blocking=True)
        self.stream.synchronize()  # the source may overwrite its batch now
        copy.record_stream(torch.cuda.current_stream(self.device))
        return copy


class ImageLoader(EpochLoader):
    """One epoch of training images: shuffled, cropped, resized, flipped, normalised.

    samples: the source's images to train on. key: data seed and level; with the epoch, all that order, windows and
    flips depend on. Ranks share every global batch as `ArrayLoader`'s do.
    """

    def __init__(
        self,
        images: Images,
        samples: Tensor,
        crop: ResizedCrop,
        image_size: int,
        key: tuple[int, int],
        batch_size: int,
        rank: int = 0,
        world: int = 1,
        drop_last: bool = False,
        current_epoch: Callable[[], int] | None = None,
    ) -> None:
        super().__init__(len(samples), batch_size, world, drop_last, current_epoch)
        self.images, self.samples, self.crop, self.image_size = images, samples, crop, image_size
        self.key, self.rank = key, rank

    def batches_of(self, epoch: int, first: int) -> Iterator[Batch]:
        shuffled = torch.randperm(len(self.samples), generator=generator("order", *self.key, epoch))
        # whole batches divide by the ranks, so a rank's share of the epoch is its share of each batch
        rest = shuffled[first * self.batch_size : self.length * self.batch_size][self.rank :: self.world]
        return self.images.read(
            self.samples[rest],
            partial(self.crop.windows, key=(*self.key, epoch)),
            self.crop.pixels(epoch, self.image_size),
            self.batch_size // self.world,
            flips(self.crop.flip, len(self.images.source.labels), *self.key, epoch),
        )


class FixedImages:
    """Images in the order of the source, never shuffled or augmented, for validation and test.

    Rank r takes samples r, r + world, ...: each is seen once, none is repeated to fill up, so sums over ranks are
    exact. `batch_size` is per device.
    """

    def __init__(
        self, images: Images, samples: Tensor, cut: Cut, pixels: int, batch_size: int, rank: int = 0, world: int = 1
    ) -> None:
        if len(samples) < world:
            raise ValueError(f"{len(samples)} samples to evaluate on {world} ranks; valid: one for each rank or more")
        self.images, self.samples, self.cut = images, samples[rank::world], cut
        self.pixels, self.batch_size = pixels, batch_size

    def __len__(self) -> int:
        return batches(len(self.samples), self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        return self.images.read(self.samples, self.cut, self.pixels, self.batch_size)
