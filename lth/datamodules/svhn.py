"""Street View House Numbers (Netzer et al. 2011), 32 x 32 colour, 73,257 + 26,032."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lth.datamodules._files import folder, open_verified
from lth.datamodules.arrays import Arrays, Parts


class SVHN(Arrays):
    """train_32x32.mat and test_32x32.mat in `root`; torchvision downloads missing files and verifies both."""

    def fetch(self, root: str | None) -> None:
        """Download the missing files."""
        for part in ("train", "test"):
            if not (folder(root) / self._file(part)[0]).is_file():
                self._open(folder(root), part, download=True)

    def read(self, root: str | None) -> Parts:
        """The images and labels of both files."""
        train, test = (self._open(folder(root), part) for part in ("train", "test"))
        return *_tensors(train), *_tensors(test)

    def _file(self, part: str) -> tuple[str, str]:
        """Name and md5, as torchvision publishes them."""
        from torchvision.datasets import SVHN as source

        return tuple(source.split_list[part][1:])

    def _open(self, root: Path, part: str, download: bool = False) -> Any:
        from torchvision.datasets import SVHN as source

        return open_verified(lambda: source(root, split=part, download=download), root, [self._file(part)])


def _tensors(dataset: Any) -> tuple[Tensor, Tensor]:
    """Images and labels of torchvision's dataset, made contiguous; the digit 0 has label 0."""
    return torch.from_numpy(dataset.data).contiguous(), torch.from_numpy(dataset.labels).long()
