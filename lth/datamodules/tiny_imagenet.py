"""Tiny-ImageNet (Le & Yang 2015): 64 x 64 colour, 200 classes, 100,000 + 10,000; tested on is what it calls val."""

import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from torch import Tensor
from torch.nn import functional as F

from lth.datamodules.arrays import Arrays, Parts
from lth.datamodules.decoded import cached
from lth.datamodules.files import folder
from lth.datamodules.image_tree import listed, same_classes

SIDE = 64
NAME = "tiny-imagenet-200"


class TinyImageNet(Arrays):
    """`root`/tiny-imagenet-200, or `root` itself, with the folders train and val as published or sorted by class.

    Where neither is there, the archive `root`/tiny-imagenet-200.zip is downloaded if need be, verified, unpacked, and
    its validation images are sorted into a folder for every class, as its val_annotations.txt says.
    All images are decoded once, into one file in `cache` (null = `root`), which several processes may share.
    image_size: 64, or a divisor of it: every square of pixels is averaged.
    """

    url = f"http://cs231n.stanford.edu/{NAME}.zip"
    md5 = "90528d7ca1a48142e341f4ef8d21d0de"

    def __init__(self, *, cache: str | None = None, **arrays: Any) -> None:
        super().__init__(**arrays)
        if SIDE % self.image_size:
            raise ValueError(f"image_size={self.image_size}; valid: 64, 32, 16, 8, 4, 2, 1")
        self.cache = cache

    def fetch(self, root: str | None) -> None:
        base = folder(root)
        base.mkdir(parents=True, exist_ok=True)
        if found(base) is None:
            with FileLock(base / f".{NAME}.lock"):
                if found(base) is None:
                    self.unpack(base)
        self.decoded(base)

    def unpack(self, base: Path) -> None:
        """From the archive to folders; what an interruption leaves is cleared away, and never taken for the dataset."""
        archive = self.downloaded(base)
        partial = base / f"{NAME}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        with zipfile.ZipFile(archive) as content:
            content.extractall(partial)
        sort_validation(partial / NAME / "val")
        os.replace(partial / NAME, base / NAME)
        shutil.rmtree(partial)

    def downloaded(self, base: Path) -> Path:
        """The archive, verified. FileNotFoundError or ValueError naming it."""
        from torchvision.datasets.utils import check_integrity, download_url

        archive = base / f"{NAME}.zip"
        try:
            if not archive.is_file():
                download_url(self.url, str(base), archive.name + ".download")
                os.replace(base / f"{archive.name}.download", archive)
        except (OSError, RuntimeError) as error:
            raise FileNotFoundError(
                f"{base} holds no {NAME} and no {archive.name}; download failed: {error}"
            ) from error
        if not check_integrity(str(archive), self.md5):
            raise ValueError(f"{archive} is damaged (md5 is not {self.md5}); delete it to download it again")
        return archive

    def decoded(self, base: Path) -> dict[str, Tensor]:
        """Images and labels of train and test at 64 x 64, from the cache, which is made where it is missing."""
        tree = found(base)
        if tree is None:
            raise FileNotFoundError(f"{base} holds no {NAME} with the folders train and val; see dataset.root")
        names, train = listed(tree / "train")
        path = folder(self.cache or str(base)) / f"{NAME}.safetensors"
        return cached(path, {"train": train, "test": listed_validation(tree, names)}, SIDE)

    def read(self, root: str | None) -> Parts:
        tensors = self.decoded(folder(root))
        images = [reduced(tensors[f"{part}_images"], SIDE // self.image_size) for part in ("train", "test")]
        return images[0], tensors["train_labels"], images[1], tensors["test_labels"]


def found(base: Path) -> Path | None:
    """The folder that holds train and val, if there is one."""
    return next((at for at in (base / NAME, base) if (at / "train").is_dir() and (at / "val").is_dir()), None)


def annotated(val: Path) -> dict[str, str]:
    """Class of each validation image by its name, from the annotations (name, class and box in columns)."""
    rows = (line.split("\t") for line in (val / "val_annotations.txt").read_text().splitlines() if line)
    return {name: label for name, label, *_ in rows}


def sort_validation(val: Path) -> None:
    """Move the images of `val`/images into one folder for every class."""
    for name, label in annotated(val).items():
        (val / label).mkdir(exist_ok=True)
        os.replace(val / "images" / name, val / label / name)
    (val / "images").rmdir()


def listed_validation(tree: Path, names: list[str]) -> list[tuple[str, int]]:
    """(path, label) of the images of `tree`/val, in one order whether or not they are sorted by class.

    ValueError where the annotations and the folders of training disagree.
    """
    val = tree / "val"
    if next((val / "images").glob("*.JPEG"), None):
        classes = annotated(val)
        paths = {val / "images" / name: label for name, label in classes.items()}
    else:
        paths = {path: label for label in sorted(os.listdir(val)) for path in (val / label).rglob("*.JPEG")}
    same_classes(tree, {"train": names, "val": list(paths.values())})
    return [(str(path), names.index(label)) for path, label in sorted(paths.items(), key=lambda item: item[0].name)]


def reduced(images: Tensor, by: int) -> Tensor:
    """uint8 (N, C, H, W) with every `by` x `by` pixels averaged, some images at a time."""
    if by == 1:
        return images
    return torch.cat([F.avg_pool2d(part.float(), by).round().to(torch.uint8) for part in images.split(4096)])
