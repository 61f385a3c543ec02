"""Normalisation of pixels: (pixel / scale - mean) / std, with mean and std given or computed from the data."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

STANDARDISE = (None, "channel", "pixel")


class Normalise(NamedTuple):
    """Computes pixel * gain + shift.

    gain, shift: float32, broadcast against (B, C, H, W)
    """

    gain: Tensor
    shift: Tensor

    def __call__(self, images: Tensor) -> Tensor:
        """The normalised images, float32.

        Multiplication and addition are separate operations, because torch fuses them for some batch sizes only, which
        would make the last bit of a sample depend on its batch.
        """
        return (images * self.gain).add_(self.shift)

    def to(self, device: torch.device) -> "Normalise":
        """The same on `device`."""
        return Normalise(self.gain.to(device), self.shift.to(device))


def given(
    mean: float | Sequence[float] | None, std: float | Sequence[float] | None, scale: float, channels: int
) -> Normalise:
    """A normalisation by given mean and std.

    mean, std: one number or one per channel, in units of pixel / scale
    scale: the pixel value that counts as 1.0

    Raises ValueError for None, another number of values, and a std of 0 or less.
    """
    return _affine(_per_channel("mean", mean, channels), _per_channel("std", std, channels), scale)


def computed(images: Tensor, scale: float, by: str, std_eps: float) -> Normalise:
    """A normalisation by mean and std of `images`.

    by: channel or pixel
    std_eps: added to the std

    Raises ValueError if the std is still 0.
    """
    mean, std = _moments(images, scale, by)
    constant = int((std + std_eps <= 0).sum())
    if constant:
        raise ValueError(f"{constant} {by}s are constant, so their std is 0; valid: std_eps over 0, here {std_eps}")
    return _affine(mean, std + std_eps, scale)


def _affine(mean: Tensor, std: Tensor, scale: float) -> Normalise:
    """The normalisation by mean and std, each float64 (C, 1, 1) or (C, H, W)."""
    return Normalise((1 / (scale * std)).float(), (-mean / std).float())


def _per_channel(name: str, value: float | Sequence[float] | None, channels: int) -> Tensor:
    """One number, or one per channel, as float64 (C, 1, 1). Raises ValueError for another count."""
    if value is None:
        raise ValueError(f"{name} is null; give one number or {channels}, or set standardise to channel or pixel")
    numbers = list(value) if isinstance(value, Sequence) else [value] * channels
    if len(numbers) != channels:
        raise ValueError(f"{name}={numbers} has {len(numbers)} numbers; valid: one number or {channels} (channels)")
    if name == "std" and min(numbers) <= 0:
        raise ValueError(f"std={numbers}; valid: over 0")
    return torch.tensor(numbers, dtype=torch.float64)[:, None, None]


def _moments(images: Tensor, scale: float, by: str) -> tuple[Tensor, Tensor]:
    """Mean and std in units of pixel / scale, float64: per channel (C, 1, 1) or per pixel (C, H, W).

    Sums over chunks of images: the whole set in float64 would need eight times its memory.
    """
    mean = torch.zeros(images.shape[1:], dtype=torch.float64)
    square = torch.zeros_like(mean)
    for part in images.split(4096):
        mean += part.double().sum(0) / len(images)
        square += part.double().square().sum(0) / len(images)
    if by == "channel":
        mean, square = (each.mean((1, 2), keepdim=True) for each in (mean, square))
    return mean / scale, (square - mean.square()).clamp(min=0).sqrt() / scale
