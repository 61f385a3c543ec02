"""Street View House Numbers (Netzer et al. 2011), 32 x 32 colour, 73,257 + 26,032."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lth.datamodules.arrays import Arrays, Parts
from lth.datamodules.files import folder, opened


class SVHN(Arrays):
    """The files train_32x32.mat and test_32x32.mat in `root`; torchvision downloads what is missing and verifies it."""

    def fetch(self, root: str | None) -> None:
        for part in ("train", "test"):
            if not (folder(root) / self.file(part)[0]).is_file():
                self.open(folder(root), part, download=True)

    def read(self, root: str | None) -> Parts:
        train, test = (self.open(folder(root), part) for part in ("train", "test"))
        return *tensors(train), *tensors(test)

    def file(self, part: str) -> tuple[str, str]:
        """Name and md5, as torchvision publishes them."""
        from torchvision.datasets import SVHN as source

        return tuple(source.split_list[part][1:])

    def open(self, root: Path, part: str, download: bool = False) -> Any:
        from torchvision.datasets import SVHN as source

        return opened(lambda: source(root, split=part, download=download), root, [self.file(part)])


def tensors(dataset: Any) -> tuple[Tensor, Tensor]:
    """torchvision gives (N, C, H, W) as a transposed view, and the digit 0 as label 0."""
    return torch.from_numpy(dataset.data).contiguous(), torch.from_numpy(dataset.labels).long()
