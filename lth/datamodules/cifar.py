"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009): 32 x 32 colour, 50,000 + 10,000."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lth.datamodules._files import folder, open_verified
from lth.datamodules.arrays import Arrays, Parts


class CIFAR10(Arrays):
    """CIFAR-10 as torchvision unpacks it into `root`; torchvision downloads missing files and verifies all."""

    def fetch(self, root: str | None) -> None:
        """Download the archive if a file is missing."""
        if not all(path.is_file() for path in self._paths(folder(root))):
            self._open(folder(root), train=True, download=True)

    def read(self, root: str | None) -> Parts:
        """The images and labels of all files."""
        train, test = (self._open(folder(root), train=train) for train in (True, False))
        return *_tensors(train), *_tensors(test)

    def _source(self) -> Any:
        from torchvision import datasets

        return getattr(datasets, type(self).__name__)

    def _files(self) -> list[tuple[str, str]]:
        """Name and md5 of each file, as torchvision publishes them."""
        source = self._source()
        return [*source.train_list, *source.test_list, (source.meta["filename"], source.meta["md5"])]

    def _paths(self, root: Path) -> list[Path]:
        return [root / self._source().base_folder / name for name, _ in self._files()]

    def _open(self, root: Path, train: bool, download: bool = False) -> Any:
        source = self._source()
        return open_verified(
            lambda: source(root, train=train, download=download), root / source.base_folder, self._files()
        )


class CIFAR100(CIFAR10):
    """CIFAR-100, stored and verified as `CIFAR10`."""


def _tensors(dataset: Any) -> tuple[Tensor, Tensor]:
    """Images and labels of torchvision's dataset, from (N, H, W, C) to (N, C, H, W)."""
    return torch.from_numpy(dataset.data).permute(0, 3, 1, 2).contiguous(), torch.tensor(dataset.targets)
