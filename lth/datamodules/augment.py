"""Augmentation of whole batches, with every random number drawn per sample before the epoch begins.

No function here loops over images, and none draws: what sample i gets is a pure function of (seed, level, epoch, i), so
an epoch's samples do not depend on batch size, order, device, rank or number of ranks, and a resumed run needs no state
of any random generator.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from lth.pruning.seeds import generator

CROP_MODES = ("constant", "reflect")
FLIPS = (False, "random", "alternating")


@dataclass(frozen=True)
class Augment:
    """What is done to a training image; `crop` and `cutout` in pixels, 0 = off."""

    crop: int = 0
    crop_mode: str = "constant"
    flip: bool | str = False
    cutout: int = 0

    @classmethod
    def of(cls, keys: Mapping[str, Any], image_size: int) -> "Augment":
        """From a configuration; ValueError for an unknown key or a value that makes no sense."""
        valid = list(cls.__dataclass_fields__)
        if unknown := [key for key in keys if key not in valid]:
            raise ValueError(f"augment keys {unknown}; valid: {', '.join(valid)}")
        augment = cls(**keys)
        augment.check(image_size)
        return augment

    def check(self, image_size: int) -> None:
        """Raise ValueError where a value makes no sense for images of `image_size` pixels."""
        if self.crop not in range(image_size):
            raise ValueError(
                f"augment.crop={self.crop} pixels of padding; valid: 0..{image_size - 1} (image size less 1)"
            )
        if self.cutout not in range(image_size + 1):
            raise ValueError(f"augment.cutout={self.cutout} pixels; valid: 0..{image_size} (image size)")
        if self.crop_mode not in CROP_MODES:
            raise ValueError(f"augment.crop_mode={self.crop_mode!r}; valid: {', '.join(CROP_MODES)}")
        if self.flip not in FLIPS:
            raise ValueError(f"augment.flip={self.flip!r}; valid: false, random, alternating")


class Draws(NamedTuple):
    """One epoch's random numbers for n samples, indexed by sample; None where the augmentation is off."""

    order: Tensor  # (n,) the epoch's permutation of the samples
    offsets: Tensor | None  # (n, 2) top left corner of the crop in the padded image
    flips: Tensor | None  # (n,) bool
    centres: Tensor | None  # (n, 2) centre of the cutout

    def each(self, change: Callable[[Tensor], Tensor]) -> "Draws":
        """`change` applied to whatever is drawn."""
        return Draws(*(None if part is None else change(part) for part in self))

    def in_order(self) -> "Draws":
        """The draws by position in the epoch instead of by sample, so that a batch is a slice of them, not a gather."""
        return self.each(lambda part: part if part is self.order else part[self.order])


def draw(samples: int, image_size: int, augment: Augment, seed: int, level: int, epoch: int) -> Draws:
    """Draw an epoch, each purpose from its own stream, so that switching one augmentation leaves the others' draws."""

    def integers(purpose: str, limit: int, *shape: int) -> Tensor:
        return torch.randint(limit, (samples, *shape), generator=generator(purpose, seed, level, epoch))

    return Draws(
        order=torch.randperm(samples, generator=generator("order", seed, level, epoch)),
        offsets=integers("crop", 2 * augment.crop + 1, 2) if augment.crop else None,
        flips=flips(augment.flip, samples, seed, level, epoch),
        centres=integers("cutout", image_size, 2) if augment.cutout else None,
    )


def flips(mode: bool | str, samples: int, seed: int, level: int, epoch: int) -> Tensor | None:
    """Which samples to flip (n,), or None where flipping is off."""
    if mode == "alternating":
        return alternating(samples, seed, level, epoch)
    if mode == "random":
        return torch.randint(2, (samples,), generator=generator("flip", seed, level, epoch)).bool()
    return None


def alternating(samples: int, seed: int, level: int, epoch: int) -> Tensor:
    """Which samples to flip: a coin per sample in epoch 0, then every epoch the other way (airbench, Jordan 2024).

    In any two consecutive epochs a network sees both sides of every image; random flips show a quarter the same side
    twice, which wastes views.
    """
    coins = torch.randint(2, (samples,), generator=generator("alternating", seed, level)).bool()
    return coins ^ bool(epoch % 2)


def pad(images: Tensor, by: int, mode: str) -> Tensor:
    """(N, C, H, W) -> (N, C, H + 2 by, W + 2 by), with zeros (black pixels) or by mirroring without the edge pixel.

    By row and column index, since torch's own reflection padding knows no uint8.
    """
    if mode == "constant":
        return F.pad(images, (by, by, by, by))
    rows, columns = (mirror(size, by, images.device) for size in images.shape[-2:])
    return images.index_select(-2, rows).index_select(-1, columns)


def mirror(size: int, by: int, device: torch.device) -> Tensor:
    """Source index of each of size + 2 by positions: 2 1 | 0 1 2 3 | 2 1 for size 4, by 2."""
    position = torch.arange(-by, size + by, device=device).abs()
    return (size - 1) - ((size - 1) - position).abs()


def windows(padded: Tensor, size: int) -> Tensor:
    """(N, C, H, W) -> (N, C, H - size + 1, W - size + 1, size, size): every crop of every image, as a view that costs
    nothing, so that cropping a batch is one gather."""
    return padded.unfold(2, size, 1).unfold(3, size, 1)


def crop(views: Tensor, index: Tensor, offsets: Tensor) -> Tensor:
    """Crops (B, C, size, size) of the images `index` (B,) at `offsets` (B, 2) out of `windows`."""
    return views[index, :, offsets[:, 0], offsets[:, 1]]


def flip(images: Tensor, which: Tensor) -> Tensor:
    """Mirror left to right the images (B, C, H, W) where `which` (B,) is true."""
    return torch.where(which[:, None, None, None], images.flip(-1), images)


def cutout(images: Tensor, centres: Tensor, side: int) -> Tensor:
    """Zero a square of `side` pixels around each centre, clipped at the border (DeVries & Taylor 2017).

    Apply it after normalisation: zero is then the mean colour.
    """
    rows, columns = (
        torch.arange(size, device=images.device) - (centres[:, axis, None] - side // 2)
        for axis, size in enumerate(images.shape[-2:])
    )
    inside_rows, inside_columns = ((distance >= 0) & (distance < side) for distance in (rows, columns))
    return images.masked_fill(inside_rows[:, None, :, None] & inside_columns[:, None, None, :], 0)
