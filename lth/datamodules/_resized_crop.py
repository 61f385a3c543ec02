"""Random resized crop (Szegedy et al. 2015), and the centre crop for evaluation, as windows drawn before decoding.

A window is the part of an image that a decoder cuts out and resizes: top, left, height and width in pixels. It is a
pure function of (seed, level, epoch, image), since image i uses the i-th block of a counter-based (Philox) stream. So
all loaders and processes use the same windows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lth.datamodules._augment import FLIPS
from lth.pruning.seeds import derive

_ATTEMPTS = 10
Sizes = NDArray[np.int64]  # (n, 2): height and width of stored images
Windows = NDArray[np.int64]  # (n, 4): top, left, height, width


@dataclass(frozen=True)
class ResizedCrop:
    """Augmentation of training images.

    scale: smallest and largest area of the window, as fractions of the image's area
    ratio: smallest and largest width / height of the window
    flip: see `Augment`
    sizes: [epoch, pixels] pairs, the image size from that epoch of a level on (progressive resizing); empty: the
        dataset's image_size in all epochs
    """

    scale: Sequence[float] = (0.08, 1.0)
    ratio: Sequence[float] = (3 / 4, 4 / 3)
    flip: bool | str = "random"
    sizes: Sequence[Sequence[int]] = ()

    @classmethod
    def of(cls, keys: Mapping[str, Any]) -> "ResizedCrop":
        """From the keys of a configuration. Raises ValueError for an unknown key or an invalid value."""
        valid = list(cls.__dataclass_fields__)
        if unknown := [key for key in keys if key not in valid]:
            raise ValueError(f"augment keys {unknown}; valid: {', '.join(valid)}; try recipe/augment=resized_crop")
        crop = cls(**{key: value for key, value in keys.items() if value is not None})
        crop._check()
        return crop

    def _check(self) -> None:
        """Raise ValueError for an invalid value."""
        for name, limit in (("scale", 1.0), ("ratio", np.inf)):
            pair = list(getattr(self, name))
            if len(pair) != 2 or not 0 < pair[0] <= pair[1] <= limit:
                raise ValueError(f"augment.{name}={pair}; valid: [smallest, largest], over 0 and up to {limit:g}")
        if self.flip not in FLIPS:
            raise ValueError(f"augment.flip={self.flip!r}; valid: false, random, alternating")
        pairs = [list(pair) for pair in self.sizes]
        epochs = [pair[0] for pair in pairs]
        if any(len(pair) != 2 or pair[1] < 1 for pair in pairs) or epochs != sorted(set(epochs)) or epochs[:1] > [0]:
            raise ValueError(f"augment.sizes={pairs}; valid: [epoch, pixels] pairs by epoch, the first from epoch 0")

    def pixels(self, epoch: int, image_size: int) -> int:
        """Height and width of training images in `epoch` of a level."""
        return next((pixels for first, pixels in reversed(self.sizes) if epoch >= first), image_size)

    def windows(self, sizes: Sizes, first: int, key: tuple[int, ...]) -> Windows:
        """Windows of consecutive images.

        sizes: of the images
        first: index of the first image
        key: seed, level and epoch
        """
        fitted = np.zeros(len(sizes), dtype=bool)
        windows = _widest(sizes, self.ratio)
        for attempt in range(_ATTEMPTS):
            tried, fits = _attempt(sizes, self.scale, self.ratio, _uniforms(first, len(sizes), "window", *key, attempt))
            windows = np.where((fits & ~fitted)[:, None], tried, windows)
            fitted |= fits
            if fitted.all():
                break
        return windows


def _uniforms(first: int, count: int, *key: int | str) -> NDArray[np.float64]:
    """Four random numbers in [0, 1) for each of `count` samples from `first` on: (count, 4)."""
    return np.random.Generator(np.random.Philox(key=derive(*key)).advance(first)).random((count, 4))


def _attempt(
    sizes: Sizes, scale: Sequence[float], ratio: Sequence[float], draws: NDArray[np.float64]
) -> tuple[Windows, NDArray[np.bool_]]:
    """A window of random area, shape and position for each image, and whether it fits the image."""
    area = sizes.prod(1) * (scale[0] + draws[:, 0] * (scale[1] - scale[0]))
    least, greatest = np.log(ratio)
    shape = np.exp(least + draws[:, 1] * (greatest - least))
    window = np.rint(np.sqrt(np.stack([area / shape, area * shape], 1))).astype(np.int64)
    corner = np.floor(draws[:, 2:] * (sizes - window + 1)).astype(np.int64)
    return np.hstack([corner, window]), ((window > 0) & (window <= sizes)).all(1)


def _widest(sizes: Sizes, ratio: Sequence[float]) -> Windows:
    """The largest centred window of an allowed shape, for images in which no random window fits."""
    height, width = sizes.T
    allowed = np.stack(
        [np.minimum(height, np.rint(width / ratio[0])), np.minimum(width, np.rint(height * ratio[1]))], 1
    )
    window = np.maximum(allowed, 1).astype(np.int64)
    return np.hstack([(sizes - window) // 2, window])


def centre_windows(sizes: Sizes, first: int, share: float) -> Windows:
    """Centred squares.

    first: unused; part of the arguments of a cut function
    share: side of the square, as a fraction of the image's shorter side; 224/256 is equivalent to resizing the shorter
        side to 256 pixels and cropping 224
    """
    side = np.maximum(np.rint(share * sizes.min(1)), 1).astype(np.int64)
    window = np.stack([side, side], 1)
    return np.hstack([(sizes - window) // 2, window])
