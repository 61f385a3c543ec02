"""Random resized crop (Szegedy et al. 2015) and its centre crop for evaluation, as windows drawn before any decoding.

A window is what a decoder has to cut out and resize: top, left, height and width in pixels of the stored image. It is a
pure function of (seed, level, epoch, image), by counters: image i takes the i-th block of a Philox stream. So any
loader in any process cuts the same windows, whatever was decoded before.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lth.datamodules.augment import FLIPS
from lth.pruning.seeds import derive

ATTEMPTS = 10
Sizes = NDArray[np.int64]  # (n, 2): height and width of stored images
Windows = NDArray[np.int64]  # (n, 4): top, left, height, width


@dataclass(frozen=True)
class ResizedCrop:
    """What is done to a training image.

    scale: least and greatest share of the image's area. ratio: least and greatest width / height of the window.
    flip: see `Augment`. sizes: [epoch, pixels] pairs, the resolution trained at from that epoch of a level on
    (progressive resizing); none of them = always the dataset's image_size.
    """

    scale: Sequence[float] = (0.08, 1.0)
    ratio: Sequence[float] = (3 / 4, 4 / 3)
    flip: bool | str = "random"
    sizes: Sequence[Sequence[int]] = ()

    @classmethod
    def of(cls, keys: Mapping[str, Any]) -> "ResizedCrop":
        """From a configuration; ValueError for an unknown key or a value that makes no sense."""
        valid = list(cls.__dataclass_fields__)
        if unknown := [key for key in keys if key not in valid]:
            raise ValueError(f"augment keys {unknown}; valid: {', '.join(valid)}; try recipe/augment=resized_crop")
        crop = cls(**{key: value for key, value in keys.items() if value is not None})
        crop.check()
        return crop

    def check(self) -> None:
        """Raise ValueError where a value makes no sense."""
        for name, limit in (("scale", 1.0), ("ratio", np.inf)):
            pair = list(getattr(self, name))
            if len(pair) != 2 or not 0 < pair[0] <= pair[1] <= limit:
                raise ValueError(f"augment.{name}={pair}; valid: [least, greatest], over 0 and up to {limit:g}")
        if self.flip not in FLIPS:
            raise ValueError(f"augment.flip={self.flip!r}; valid: false, random, alternating")
        pairs = [list(pair) for pair in self.sizes]
        epochs = [pair[0] for pair in pairs]
        if any(len(pair) != 2 or pair[1] < 1 for pair in pairs) or epochs != sorted(set(epochs)) or epochs[:1] > [0]:
            raise ValueError(f"augment.sizes={pairs}; valid: [epoch, pixels] pairs by epoch, the first from epoch 0")

    def pixels(self, epoch: int, image_size: int) -> int:
        """The side of a training image in `epoch` of a level."""
        return next((pixels for first, pixels in reversed(self.sizes) if epoch >= first), image_size)

    def windows(self, sizes: Sizes, first: int, key: tuple[int, ...]) -> Windows:
        """Windows of the images `first`, `first` + 1, ... of these sizes; key: seed, level and epoch."""
        found = np.zeros(len(sizes), dtype=bool)
        windows = widest(sizes, self.ratio)
        for attempt in range(ATTEMPTS):
            tried, fits = attempted(sizes, self.scale, self.ratio, uniforms(first, len(sizes), "window", *key, attempt))
            windows = np.where((fits & ~found)[:, None], tried, windows)
            found |= fits
            if found.all():
                break
        return windows


def uniforms(first: int, count: int, *key: int | str) -> NDArray[np.float64]:
    """Four numbers in [0, 1) for each of `count` samples from `first` on, (count, 4): each a function of its sample."""
    return np.random.Generator(np.random.Philox(key=derive(*key)).advance(first)).random((count, 4))


def attempted(
    sizes: Sizes, scale: Sequence[float], ratio: Sequence[float], draws: NDArray[np.float64]
) -> tuple[Windows, NDArray[np.bool_]]:
    """A window of random area and shape at a random place in each image, and whether it fits the image."""
    area = sizes.prod(1) * (scale[0] + draws[:, 0] * (scale[1] - scale[0]))
    least, greatest = np.log(ratio)
    shape = np.exp(least + draws[:, 1] * (greatest - least))
    window = np.rint(np.sqrt(np.stack([area / shape, area * shape], 1))).astype(np.int64)
    corner = np.floor(draws[:, 2:] * (sizes - window + 1)).astype(np.int64)
    return np.hstack([corner, window]), ((window > 0) & (window <= sizes)).all(1)


def widest(sizes: Sizes, ratio: Sequence[float]) -> Windows:
    """The largest window of an allowed shape in the middle of each image, for images too long or tall to fit one."""
    height, width = sizes.T
    allowed = np.stack(
        [np.minimum(height, np.rint(width / ratio[0])), np.minimum(width, np.rint(height * ratio[1]))], 1
    )
    window = np.maximum(allowed, 1).astype(np.int64)
    return np.hstack([(sizes - window) // 2, window])


def centred(sizes: Sizes, first: int, share: float) -> Windows:
    """The square in the middle of each image whose side is `share` of the image's shorter side.

    224/256 is what resizing the shorter side to 256 and cutting 224 pixels out of the middle comes to.
    """
    side = np.maximum(np.rint(share * sizes.min(1)), 1).astype(np.int64)
    window = np.stack([side, side], 1)
    return np.hstack([(sizes - window) // 2, window])
