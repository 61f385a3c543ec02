"""Tiny-ImageNet (Le & Yang 2015): 64 x 64 colour, 200 classes, 100,000 + 10,000; the test set is its val."""

import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from torch import Tensor
from torch.nn import functional as F

from lth.datamodules._files import folder
from lth.datamodules._image_cache import cached_images
from lth.datamodules._image_tree import check_same_classes, list_images
from lth.datamodules.arrays import Arrays, Parts

_SIDE = 64
_NAME = "tiny-imagenet-200"


class TinyImageNet(Arrays):
    """`root`/tiny-imagenet-200 or `root`, with the folders train and val; val as published or sorted by class.

    If they are missing, `root`/tiny-imagenet-200.zip is downloaded, verified and unpacked, and its validation images
    are sorted into one folder for each class. image_size may be a divisor of 64; squares of pixels are then averaged.

    cache: folder of the decoded images, one file that processes may share; null = `root`
    arrays: the other keys, see `Arrays`
    """

    url = f"http://cs231n.stanford.edu/{_NAME}.zip"
    md5 = "90528d7ca1a48142e341f4ef8d21d0de"

    def __init__(self, *, cache: str | None = None, **arrays: Any) -> None:
        super().__init__(**arrays)
        if _SIDE % self.image_size:
            raise ValueError(f"image_size={self.image_size}; valid: 64, 32, 16, 8, 4, 2, 1")
        self.cache = cache

    def fetch(self, root: str | None) -> None:
        """Download, unpack and sort the images if they are missing, and write the cache."""
        base = folder(root)
        base.mkdir(parents=True, exist_ok=True)
        if _find(base) is None:
            with FileLock(base / f".{_NAME}.lock"):
                if _find(base) is None:
                    self._unpack(base)
        self._decoded(base)

    def _unpack(self, base: Path) -> None:
        """Unpack the archive into a temporary folder, then move it: an interruption leaves no incomplete dataset."""
        archive = self._download(base)
        partial = base / f"{_NAME}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        with zipfile.ZipFile(archive) as content:
            content.extractall(partial)
        _sort_validation(partial / _NAME / "val")
        os.replace(partial / _NAME, base / _NAME)
        shutil.rmtree(partial)

    def _download(self, base: Path) -> Path:
        """The path of the verified archive. Raises FileNotFoundError, or ValueError for a damaged one."""
        from torchvision.datasets.utils import check_integrity, download_url

        archive = base / f"{_NAME}.zip"
        try:
            if not archive.is_file():
                download_url(self.url, str(base), archive.name + ".download")
                os.replace(base / f"{archive.name}.download", archive)
        except (OSError, RuntimeError) as error:
            raise FileNotFoundError(
                f"{base} holds no {_NAME} and no {archive.name}; download failed: {error}"
            ) from error
        if not check_integrity(str(archive), self.md5):
            raise ValueError(f"{archive} is damaged (md5 is not {self.md5}); delete it to download it again")
        return archive

    def _decoded(self, base: Path) -> dict[str, Tensor]:
        """Images (64 x 64) and labels of train and test from the cache, which is written if it is missing."""
        tree = _find(base)
        if tree is None:
            raise FileNotFoundError(f"{base} holds no {_NAME} with the folders train and val; see dataset.root")
        names, train = list_images(tree / "train")
        path = folder(self.cache or str(base)) / f"{_NAME}.safetensors"
        return cached_images(path, {"train": train, "test": _list_validation(tree, names)}, _SIDE)

    def read(self, root: str | None) -> Parts:
        """The decoded images, reduced to image_size."""
        tensors = self._decoded(folder(root))
        images = [_reduced(tensors[f"{part}_images"], _SIDE // self.image_size) for part in ("train", "test")]
        return images[0], tensors["train_labels"], images[1], tensors["test_labels"]


def _find(base: Path) -> Path | None:
    """The folder with train and val, or None."""
    return next((at for at in (base / _NAME, base) if (at / "train").is_dir() and (at / "val").is_dir()), None)


def _annotations(val: Path) -> dict[str, str]:
    """File name -> class of the validation images, from val_annotations.txt (columns name, class and box).

    Converted images may have another suffix than the names there. Raises ValueError for a damaged file: one that names
    paths, no class, or not just the images of `val`/images.
    """
    path = val / "val_annotations.txt"
    rows = [line.split("\t") for line in path.read_text(errors="replace").splitlines() if line]
    wrong = [row for row in rows if len(row) < 2 or any(Path(part).name != part for part in row[:2])]
    found = {Path(row[0]).stem: row[1] for row in rows if row not in wrong}
    images = {image.stem: image.name for image in (val / "images").iterdir()}
    if wrong or len(found) != len(rows) or set(found) != set(images):
        first = wrong[0][0] if wrong else next(iter(sorted(set(images) ^ set(found))), "the same image twice")
        raise ValueError(f"{path} is damaged: it does not list the images beside it (first difference: {first!r})")
    return {images[stem]: label for stem, label in found.items()}


def _is_image(path: Path) -> bool:
    from torchvision.datasets.folder import IMG_EXTENSIONS

    return path.suffix.lower() in IMG_EXTENSIONS


def _sort_validation(val: Path) -> None:
    """Move the images of `val`/images into one folder for each class."""
    for name, label in _annotations(val).items():
        (val / label).mkdir(exist_ok=True)
        os.replace(val / "images" / name, val / label / name)
    (val / "images").rmdir()


def _list_validation(tree: Path, names: list[str]) -> list[tuple[str, int]]:
    """(path, label) of the images of `tree`/val, ordered by file name.

    names: classes of the training images, in the order of their labels

    Raises ValueError if val has other classes.
    """
    val = tree / "val"
    if any(map(_is_image, (val / "images").glob("*"))):
        classes = _annotations(val)
        paths = {val / "images" / name: label for name, label in classes.items()}
    else:
        labels = sorted(os.listdir(val))
        paths = {path: label for label in labels for path in (val / label).rglob("*") if _is_image(path)}
    check_same_classes(tree, {"train": names, "val": list(paths.values())})
    return [(str(path), names.index(label)) for path, label in sorted(paths.items(), key=lambda item: item[0].name)]


def _reduced(images: Tensor, by: int) -> Tensor:
    """uint8 (N, C, H / by, W / by): means over squares of `by` pixels, in chunks of images."""
    if by == 1:
        return images
    return torch.cat([F.avg_pool2d(part.float(), by).round().to(torch.uint8) for part in images.split(4096)])
