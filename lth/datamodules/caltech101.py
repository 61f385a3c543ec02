"""Caltech-101 (Fei-Fei et al. 2004): 8,677 photographs of 101 categories, of all sizes; 31 to 800 of a category."""

import os
import shutil
from pathlib import Path
from typing import Any

from filelock import FileLock
from torch import Tensor

from lth.datamodules.arrays import Arrays, Parts
from lth.datamodules.decoded import Samples, cached
from lth.datamodules.files import folder
from lth.datamodules.image_tree import listed
from lth.datamodules.parts import check_fraction, stratified

NAME, TREE = "caltech101", "101_ObjectCategories"
BACKGROUND = "BACKGROUND_Google"  # published beside the categories, and none


class Caltech101(Arrays):
    """`root`/caltech101/101_ObjectCategories, as torchvision lays it out; torchvision downloads and verifies it.

    There is no published test set: test_share of the photographs is one, val_size of the rest validates, and every
    category has its share of all parts, to within one photograph.
    test_share: over 0 and under 1; test_seed: draws the test set, whatever split_seed is.
    image_size: every photograph is resized to a square of this side, whole. They are decoded once for every size,
    into one file in `cache` (null = `root`), which several processes may share.
    """

    def __init__(self, *, test_share: float = 0.2, test_seed: int = 0, cache: str | None = None, **arrays: Any) -> None:
        super().__init__(**arrays)
        check_fraction("test_share", test_share, whole=False)
        self.test_share, self.test_seed, self.cache = test_share, test_seed, cache

    def apart(self, labels: Tensor, count: int, *key: int | str) -> tuple[Tensor, Tensor]:
        return stratified(labels, count, *key)

    def fetch(self, root: str | None) -> None:
        base = folder(root)
        base.mkdir(parents=True, exist_ok=True)
        if not (base / NAME / TREE).is_dir():
            with FileLock(base / f".{NAME}.lock"):
                if not (base / NAME / TREE).is_dir():
                    download(base)
        self.decoded(base)

    def decoded(self, base: Path) -> dict[str, Tensor]:
        """Images and labels of all photographs, from the cache, which is made where it is missing."""
        samples = self.samples(base / NAME / TREE)
        path = folder(self.cache or str(base)) / f"{NAME}-{self.image_size}.safetensors"
        return cached(path, {"all": samples}, self.image_size, resize=True)

    def samples(self, tree: Path) -> Samples:
        """(path, label) of every photograph; ValueError where there are not as many categories as `classes`."""
        names, found = listed(tree)
        categories = [name for name in names if name != BACKGROUND]
        if len(categories) != self.classes:
            raise ValueError(f"dataset.classes={self.classes}, but {tree} has {len(categories)} categories")
        return [(path, categories.index(names[label])) for path, label in found if names[label] != BACKGROUND]

    def read(self, root: str | None) -> Parts:
        tensors = self.decoded(folder(root))
        images, labels = tensors["all_images"], tensors["all_labels"]
        train, test = self.apart(labels, round(self.test_share * len(labels)), "test", self.test_seed)
        return images[train], labels[train], images[test], labels[test]


def download(base: Path) -> None:
    """Let torchvision download and unpack beside the place, then move: what an interruption leaves is no dataset."""
    from torchvision.datasets import Caltech101 as source

    partial = base / f"{NAME}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        source(str(partial), download=True)
    except (OSError, RuntimeError) as error:
        raise FileNotFoundError(f"{base / NAME / TREE} is missing; download failed: {error}") from error
    (base / NAME).mkdir(exist_ok=True)
    os.replace(partial / NAME / TREE, base / NAME / TREE)
    shutil.rmtree(partial)
