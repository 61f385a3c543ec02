"""MNIST (LeCun et al. 1998) and Fashion-MNIST (Xiao et al. 2017): 28 x 28 grey, 60,000 + 10,000."""

import gzip
import math
import struct
import zlib
from pathlib import Path

import torch
from torch import Tensor

from lth.datamodules._files import folder
from lth.datamodules.arrays import Arrays, Parts

_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


class MNIST(Arrays):
    """The four IDX files, gzipped or not, in `root`/MNIST/raw (torchvision's layout) or in `root`.

    If neither folder has all four, torchvision downloads them into the former and verifies them.
    """

    def fetch(self, root: str | None) -> None:
        """Download the files unless one folder has all four."""
        if self._find(folder(root)):
            return
        import torchvision

        try:
            getattr(torchvision.datasets, type(self).__name__)(folder(root), download=True)
        except (OSError, RuntimeError) as error:
            raise FileNotFoundError(f"{self._missing(folder(root))} Download failed: {error}") from error

    def read(self, root: str | None) -> Parts:
        """The images and labels of the four files. Raises FileNotFoundError naming missing ones."""
        paths = self._find(folder(root))
        if not paths:
            raise FileNotFoundError(self._missing(folder(root)))
        train_x, train_y, test_x, test_y = (_read_idx(path) for path in paths)
        return train_x[:, None], train_y.long(), test_x[:, None], test_y.long()

    def _places(self, root: Path) -> list[Path]:
        return [root / type(self).__name__ / "raw", root]

    def _find(self, root: Path) -> list[Path]:
        """The four files in the first folder that has all of them; an empty list if none has."""
        for place in self._places(root):
            paths = [path for name in _FILES if (path := _plain_or_gz(place / name))]
            if len(paths) == len(_FILES):
                return paths
        return []

    def _missing(self, root: Path) -> str:
        """An error message: the files that each folder lacks."""
        lacking = [
            f"{place} lacks {[n for n in _FILES if not _plain_or_gz(place / n)]}" for place in self._places(root)
        ]
        return f"{type(self).__name__} needs four files, plain or .gz: {'; '.join(lacking)}."


class FashionMNIST(MNIST):
    """The same files in `root`/FashionMNIST/raw or in `root`, where Debian's dataset-fashion-mnist installs them."""


def _plain_or_gz(path: Path) -> Path | None:
    """`path`, else `path` with .gz, else None."""
    return next((each for each in (path, path.with_name(path.name + ".gz")) if each.is_file()), None)


def _read_idx(path: Path) -> Tensor:
    """A uint8 tensor from an IDX file: two zero bytes, type 8, number of axes, big-endian sizes, then the data.

    Raises ValueError naming the file if the header is different or does not match the length of the data.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if len(content) < 4 or content[:3] != b"\0\0\x08" or len(content) < 4 + 4 * content[3]:
        raise ValueError(f"{path} is not an IDX file of bytes: it begins with {content[:4].hex()}")
    sizes = struct.unpack_from(f">{content[3]}I", content, 4)
    begin = 4 + 4 * len(sizes)
    if len(content) - begin != math.prod(sizes):
        raise ValueError(f"{path} is damaged: {math.prod(sizes)} bytes for sizes {sizes}, found {len(content) - begin}")
    return torch.frombuffer(bytearray(content), dtype=torch.uint8, offset=begin).view(sizes)
