"""Loaders for images that are decoded batch by batch: a source decodes crops, the device flips and normalises them."""

from collections.abc import Callable, Generator, Iterator
from functools import partial
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from lth.datamodules._augment import flip, flips
from lth.datamodules._loader import Batch, Batching, EpochLoader, batches
from lth.datamodules._normalise import Normalise
from lth.datamodules._resized_crop import ResizedCrop, Sizes, Windows
from lth.pruning.seeds import generator

Cut = Callable[[Sizes, int], Windows]


class Source(Protocol):
    """Stored images, addressed by index.

    labels: int64 (n,), on the CPU
    workers: number of threads or processes that decode
    """

    labels: Tensor
    workers: int

    def read(self, samples: Tensor, cut: Cut, pixels: int, batch_size: int) -> Iterator[Tensor]:
        """Batches of images as uint8 (B, 3, pixels, pixels) on the CPU. The next batch may overwrite the one before.

        samples: indices of the images, in order
        cut: function of (sizes, first) that returns the crop windows of consecutive images from index `first` on
        pixels: height and width of the images after resizing
        batch_size: images per batch; the last batch may be smaller
        """


class Images(NamedTuple):
    """A source, with the normalisation of its images and the device they are needed on."""

    source: Source
    normalise: Normalise
    device: torch.device

    def read(
        self, samples: Tensor, cut: Cut, pixels: int, batch_size: int, flipped: Tensor | None = None
    ) -> Generator[Batch, None, None]:
        """Normalised batches on the device: float32 (B, 3, pixels, pixels) and int64 (B,).

        samples, cut, pixels: see `Source.read`
        flipped: which images of the source to mirror, bool (n,)
        """
        copies = _CopyStream(self.device) if self.device.type == "cuda" else None
        normalise = self.normalise.to(self.device)
        labels = self.source.labels[samples].to(self.device)
        turned = None if flipped is None else flipped[samples].to(self.device)
        position = 0
        for stored in self.source.read(samples, cut, pixels, batch_size):
            here = slice(position, position + len(stored))
            position += len(stored)
            x = stored if copies is None else copies(stored)
            # normalise returns a new tensor, which the next batch of the source does not overwrite
            yield normalise(x if turned is None else flip(x, turned[here])), labels[here]


class _CopyStream:
    """Copies images to a CUDA device on a stream of its own, so that the host waits only for the copy."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.stream = device, torch.cuda.Stream(device)

    def __call__(self, images: Tensor) -> Tensor:
        with torch.cuda.stream(self.stream):
            copy = images.to(self.device, non_blocking=True)
        self.stream.synchronize()  # from here on the source may overwrite its batch
        copy.record_stream(torch.cuda.current_stream(self.device))
        return copy


class ImageLoader(EpochLoader):
    """Batches of one epoch of training images: shuffled, cropped, resized, flipped, normalised.

    samples: indices of the training images in the source
    image_size: height and width in pixels, for epochs without an entry in `crop.sizes`
    key: data seed and level; with the epoch they determine order, crops and flips
    batching: ranks divide every batch as in `ArrayLoader`
    """

    def __init__(
        self,
        images: Images,
        samples: Tensor,
        crop: ResizedCrop,
        image_size: int,
        key: tuple[int, int],
        batching: Batching,
    ) -> None:
        super().__init__(len(samples), batching)
        self.images, self.samples, self.crop, self.image_size = images, samples, crop, image_size
        self.key = key

    def batches_of(self, epoch: int, first: int) -> Iterator[Batch]:
        """Batches decoded by the source, in the order and with the crops and flips of `epoch`."""
        shuffled = torch.randperm(len(self.samples), generator=generator("order", *self.key, epoch))
        # batch_size is a multiple of the ranks, so every rank-th sample of the epoch is every rank-th of each batch
        size, rank, world = self.batching.batch_size, self.batching.rank, self.batching.world
        rest = shuffled[first * size : self.length * size][rank::world]
        return self.images.read(
            self.samples[rest],
            partial(self.crop.windows, key=(*self.key, epoch)),
            self.crop.pixels(epoch, self.image_size),
            size // world,
            flips(self.crop.flip, len(self.images.source.labels), *self.key, epoch),
        )


class FixedImages:
    """Batches of images in the order of the source, without augmentation, for validation and test.

    Rank r takes samples r, r + world, ...; each sample is seen once, so sums over ranks are exact.

    samples: indices of the images in the source
    cut, pixels: see `Source.read`
    batch_size: images per batch on each device
    rank, world: rank of this process, and number of ranks

    Raises ValueError for fewer samples than ranks.
    """

    def __init__(
        self, images: Images, samples: Tensor, cut: Cut, pixels: int, batch_size: int, rank: int = 0, world: int = 1
    ) -> None:
        if len(samples) < world:
            raise ValueError(f"{len(samples)} samples to evaluate on {world} ranks; valid: at least one per rank")
        self.images, self.samples, self.cut = images, samples[rank::world], cut
        self.pixels, self.batch_size = pixels, batch_size

    def __len__(self) -> int:
        return batches(len(self.samples), self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        return self.images.read(self.samples, self.cut, self.pixels, self.batch_size)
