"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009): 32 x 32 colour, 50,000 + 10,000."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lth.datamodules.arrays import Arrays, Parts
from lth.datamodules.files import folder, opened


class CIFAR10(Arrays):
    """The archive as torchvision unpacks it into `root`; torchvision downloads what is missing and verifies it."""

    def fetch(self, root: str | None) -> None:
        if not all(path.is_file() for path in self.paths(folder(root))):
            self.open(folder(root), train=True, download=True)

    def read(self, root: str | None) -> Parts:
        train, test = (self.open(folder(root), train=train) for train in (True, False))
        return *tensors(train), *tensors(test)

    def torchvision(self) -> Any:
        from torchvision import datasets

        return getattr(datasets, type(self).__name__)

    def files(self) -> list[tuple[str, str]]:
        """Name and md5 of each file, as torchvision publishes them."""
        source = self.torchvision()
        return [*source.train_list, *source.test_list, (source.meta["filename"], source.meta["md5"])]

    def paths(self, root: Path) -> list[Path]:
        return [root / self.torchvision().base_folder / name for name, _ in self.files()]

    def open(self, root: Path, train: bool, download: bool = False) -> Any:
        source = self.torchvision()
        return opened(lambda: source(root, train=train, download=download), root / source.base_folder, self.files())


class CIFAR100(CIFAR10):
    """The same with 100 classes."""


def tensors(dataset: Any) -> tuple[Tensor, Tensor]:
    """torchvision keeps (N, H, W, C); a convolution wants (N, C, H, W)."""
    return torch.from_numpy(dataset.data).permute(0, 3, 1, 2).contiguous(), torch.tensor(dataset.targets)
