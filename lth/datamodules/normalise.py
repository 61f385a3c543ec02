"""From pixels to what a network sees: (pixel / scale - mean) / std, with mean and std given or computed."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

STANDARDISE = (None, "channel", "pixel")


class Normalise(NamedTuple):
    """pixel * gain + shift; gain and shift broadcast against (B, C, H, W)."""

    gain: Tensor
    shift: Tensor

    def __call__(self, images: Tensor) -> Tensor:
        """float32 images. Two roundings, never a fused multiply-add: a fused one would be used for some batch sizes
        and not for others, and the same sample would differ in its last bit."""
        return (images * self.gain).add_(self.shift)

    def to(self, device: torch.device) -> "Normalise":
        return Normalise(self.gain.to(device), self.shift.to(device))


def given(
    mean: float | Sequence[float] | None, std: float | Sequence[float] | None, scale: float, channels: int
) -> Normalise:
    """From mean and std in units of pixel / scale, each one number or one per channel."""
    return affine(per_channel("mean", mean, channels), per_channel("std", std, channels), scale)


def computed(images: Tensor, scale: float, by: str, std_eps: float) -> Normalise:
    """From the moments of `images`; ValueError where the std is zero."""
    mean, std = moments(images, scale, by)
    constant = int((std + std_eps <= 0).sum())
    if constant:
        raise ValueError(f"{constant} {by}s never change, so their std is 0; valid: std_eps over 0, here {std_eps}")
    return affine(mean, std + std_eps, scale)


def affine(mean: Tensor, std: Tensor, scale: float) -> Normalise:
    """From mean and std, each (C, 1, 1) or (C, H, W), in float64; used in float32."""
    return Normalise((1 / (scale * std)).float(), (-mean / std).float())


def per_channel(name: str, value: float | Sequence[float] | None, channels: int) -> Tensor:
    """A scalar or one number per channel as (C, 1, 1) float64; ValueError for any other count."""
    if value is None:
        raise ValueError(f"{name} is null; give one number or {channels}, or set standardise to channel or pixel")
    numbers = list(value) if isinstance(value, Sequence) else [value] * channels
    if len(numbers) != channels:
        raise ValueError(f"{name}={numbers} has {len(numbers)} numbers; valid: one number or {channels} (channels)")
    if name == "std" and min(numbers) <= 0:
        raise ValueError(f"std={numbers}; valid: over 0")
    return torch.tensor(numbers, dtype=torch.float64)[:, None, None]


def moments(images: Tensor, scale: float, by: str) -> tuple[Tensor, Tensor]:
    """Mean and std in units of pixel / scale, of each channel (C, 1, 1) or of each pixel (C, H, W).

    In float64; in parts, since the whole set in float64 would be eight times its size.
    """
    mean = torch.zeros(images.shape[1:], dtype=torch.float64)
    square = torch.zeros_like(mean)
    for part in images.split(4096):
        mean += part.double().sum(0) / len(images)
        square += part.double().square().sum(0) / len(images)
    if by == "channel":
        mean, square = (each.mean((1, 2), keepdim=True) for each in (mean, square))
    return mean / scale, (square - mean.square()).clamp(min=0).sqrt() / scale
