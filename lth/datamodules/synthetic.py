"""Learnable random images of any size, channels and classes, for tests and for dry runs of large recipes."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lth.datamodules.arrays import Arrays, Parts
from lth.pruning.seeds import generator


class Synthetic(Arrays):
    """Images that are the smooth random pattern of their class plus noise.

    train_size, test_size: number of images
    noise: standard deviation of the noise; that of the patterns is about 0.17 (0.25 before interpolation). White is 1
    image_seed: seed of patterns, labels and noise; the same for all replicates, like a real dataset
    arrays: the other keys, see `Arrays`
    """

    def __init__(
        self, *, train_size: int = 1000, test_size: int = 200, noise: float = 0.25, image_seed: int = 0, **arrays: Any
    ) -> None:
        super().__init__(**arrays)
        if train_size < 1 or test_size < 1:
            raise ValueError(f"train_size={train_size}, test_size={test_size}; valid: 1 or more")
        if noise < 0:
            raise ValueError(f"noise={noise}; valid: 0 or more")
        self.counts = {"train": train_size, "test": test_size}
        self.noise, self.image_seed = noise, image_seed

    def read(self, root: str | None) -> Parts:
        """Images drawn from `image_seed`; `root` is unused."""
        return *self._make("train"), *self._make("test")

    def _make(self, part: str) -> tuple[Tensor, Tensor]:
        """Images and labels, in chunks of 512 images: one of 224 x 224 in colour needs 0.6 MB as float32."""
        random = generator("synthetic", self.image_seed, part)
        labels = torch.randperm(self.counts[part], generator=random) % self.classes
        return torch.cat([self._images(y, random) for y in labels.split(512)]), labels

    def _images(self, labels: Tensor, random: torch.Generator) -> Tensor:
        coarse = torch.randn(self.classes, self.channels, 4, 4, generator=generator("patterns", self.image_seed))
        smooth = F.interpolate(coarse[labels], self.image_size, mode="bilinear", align_corners=True)
        noisy = 0.5 + 0.25 * smooth + self.noise * torch.randn(smooth.shape, generator=random)
        return (noisy.clamp(0, 1) * self.scale).round().to(torch.uint8)
