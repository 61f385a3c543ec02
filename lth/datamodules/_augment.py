"""Augmentation of whole batches, with random numbers drawn per sample before the epoch begins.

The augmentation of sample i is a pure function of (seed, level, epoch, i). It does not depend on batch size, order,
device or ranks, and a resumed run needs no state of a random generator.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from lth.pruning.seeds import generator

_CROP_MODES = ("constant", "reflect")
FLIPS = (False, "random", "alternating")


@dataclass(frozen=True)
class Augment:
    """Augmentation of training images.

    crop: pixels of padding on each side before a random crop of the original size; 0 = off
    crop_mode: constant (pads with black) or reflect
    flip: false, random, or alternating (see `_alternating`)
    cutout: side in pixels of a square that is set to the mean colour; 0 = off
    """

    crop: int = 0
    crop_mode: str = "constant"
    flip: bool | str = False
    cutout: int = 0

    @classmethod
    def of(cls, keys: Mapping[str, Any], image_size: int) -> "Augment":
        """From the keys of a configuration. Raises ValueError for an unknown key or an invalid value."""
        valid = list(cls.__dataclass_fields__)
        if unknown := [key for key in keys if key not in valid]:
            raise ValueError(f"augment keys {unknown}; valid: {', '.join(valid)}")
        augment = cls(**keys)
        augment._check(image_size)
        return augment

    def _check(self, image_size: int) -> None:
        """Raise ValueError for a value that is invalid for images of `image_size` pixels."""
        if self.crop not in range(image_size):
            raise ValueError(
                f"augment.crop={self.crop} pixels of padding; valid: 0..{image_size - 1} (image size less 1)"
            )
        if self.cutout not in range(image_size + 1):
            raise ValueError(f"augment.cutout={self.cutout} pixels; valid: 0..{image_size} (image size)")
        if self.crop_mode not in _CROP_MODES:
            raise ValueError(f"augment.crop_mode={self.crop_mode!r}; valid: {', '.join(_CROP_MODES)}")
        if self.flip not in FLIPS:
            raise ValueError(f"augment.flip={self.flip!r}; valid: false, random, alternating")


class Draws(NamedTuple):
    """The random numbers of one epoch for n samples, indexed by sample; None for an augmentation that is off."""

    order: Tensor  # (n,) permutation of the samples
    offsets: Tensor | None  # (n, 2) top and left of the crop in the padded image
    flips: Tensor | None  # (n,) bool
    centres: Tensor | None  # (n, 2) row and column of the cutout's centre

    def each(self, change: Callable[[Tensor], Tensor]) -> "Draws":
        """`change` applied to every tensor."""
        return Draws(*(None if part is None else change(part) for part in self))

    def in_order(self) -> "Draws":
        """The numbers indexed by position in the epoch, so that a batch is a slice and not a gather."""
        return self.each(lambda part: part if part is self.order else part[self.order])


def draw(samples: int, image_size: int, augment: Augment, seed: int, level: int, epoch: int) -> Draws:
    """The random numbers of an epoch. Each augmentation has its own stream, so switching one changes no other."""

    def integers(purpose: str, limit: int, *shape: int) -> Tensor:
        return torch.randint(limit, (samples, *shape), generator=generator(purpose, seed, level, epoch))

    return Draws(
        order=torch.randperm(samples, generator=generator("order", seed, level, epoch)),
        offsets=integers("crop", 2 * augment.crop + 1, 2) if augment.crop else None,
        flips=flips(augment.flip, samples, seed, level, epoch),
        centres=integers("cutout", image_size, 2) if augment.cutout else None,
    )


def flips(mode: bool | str, samples: int, seed: int, level: int, epoch: int) -> Tensor | None:
    """Which samples to flip: bool (n,), or None if flipping is off.

    mode: false, random or alternating
    """
    if mode == "alternating":
        return _alternating(samples, seed, level, epoch)
    if mode == "random":
        return torch.randint(2, (samples,), generator=generator("flip", seed, level, epoch)).bool()
    return None


def _alternating(samples: int, seed: int, level: int, epoch: int) -> Tensor:
    """Which samples to flip: at random in epoch 0, then the opposite in every epoch (airbench, Jordan 2024).

    Any two consecutive epochs show both orientations of every image; with random flips half of the images have the same
    orientation twice.
    """
    coins = torch.randint(2, (samples,), generator=generator("alternating", seed, level)).bool()
    return coins ^ bool(epoch % 2)


def pad(images: Tensor, by: int, mode: str) -> Tensor:
    """(N, C, H, W) -> (N, C, H + 2 by, W + 2 by).

    by: pixels added on each side
    mode: constant pads with zeros (black); reflect mirrors without repeating the edge pixel

    Mirrors by row and column index, since torch's reflection padding does not support uint8.
    """
    if mode == "constant":
        return F.pad(images, (by, by, by, by))
    rows, columns = (_mirror(size, by, images.device) for size in images.shape[-2:])
    return images.index_select(-2, rows).index_select(-1, columns)


def _mirror(size: int, by: int, device: torch.device) -> Tensor:
    """Source index of each padded position: 2 1 | 0 1 2 3 | 2 1 for size 4 and by 2."""
    position = torch.arange(-by, size + by, device=device).abs()
    return (size - 1) - ((size - 1) - position).abs()


def windows(padded: Tensor, size: int) -> Tensor:
    """All crops of all images, as a view: (N, C, H, W) -> (N, C, H - size + 1, W - size + 1, size, size).

    With it, cropping a batch is one gather.
    """
    return padded.unfold(2, size, 1).unfold(3, size, 1)


def crop(views: Tensor, index: Tensor, offsets: Tensor) -> Tensor:
    """Crops (B, C, size, size) of the images `index` (B,) at top and left `offsets` (B, 2).

    views: result of `windows`
    """
    return views[index, :, offsets[:, 0], offsets[:, 1]]


def flip(images: Tensor, which: Tensor) -> Tensor:
    """Mirror the images (B, C, H, W) left to right where `which` (B,) is true."""
    return torch.where(which[:, None, None, None], images.flip(-1), images)


def cutout(images: Tensor, centres: Tensor, side: int) -> Tensor:
    """Set a square of `side` pixels around each centre to zero, clipped at the border (DeVries & Taylor 2017).

    images: (B, C, H, W), normalised, so that zero is the mean colour
    centres: (B, 2) row and column
    """
    rows, columns = (
        torch.arange(size, device=images.device) - (centres[:, axis, None] - side // 2)
        for axis, size in enumerate(images.shape[-2:])
    )
    inside_rows, inside_columns = ((distance >= 0) & (distance < side) for distance in (rows, columns))
    return images.masked_fill(inside_rows[:, None, :, None] & inside_columns[:, None, None, :], 0)
