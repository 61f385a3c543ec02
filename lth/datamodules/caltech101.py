"""Caltech-101 (Fei-Fei et al. 2004): 8,677 photographs of various sizes, 31 to 800 in each of 101 categories."""

import os
import shutil
from pathlib import Path
from typing import Any

from filelock import FileLock
from torch import Tensor

from lth.datamodules._files import folder
from lth.datamodules._image_cache import Samples, cached_images
from lth.datamodules._image_tree import list_images
from lth.datamodules._splits import check_fraction, stratified
from lth.datamodules.arrays import Arrays, Parts

_NAME, _TREE = "caltech101", "101_ObjectCategories"
_BACKGROUND = "BACKGROUND_Google"  # a folder beside the categories that is not a category


class Caltech101(Arrays):
    """`root`/caltech101/101_ObjectCategories, torchvision's layout; torchvision downloads and verifies it.

    There is no published test set, so one is drawn. All splits are stratified by category, to within one photograph.
    Every photograph is resized to a square of side image_size without cropping.

    test_share: fraction of the photographs for the test set, over 0 and under 1
    test_seed: seed of the draw of the test set; independent of split_seed
    cache: folder of the decoded images, one file for each image_size, which processes may share; null = `root`
    arrays: the other keys, see `Arrays`
    """

    def __init__(self, *, test_share: float = 0.2, test_seed: int = 0, cache: str | None = None, **arrays: Any) -> None:
        super().__init__(**arrays)
        check_fraction("test_share", test_share, whole=False)
        self.test_share, self.test_seed, self.cache = test_share, test_seed, cache

    def split_off(self, labels: Tensor, count: int, *key: int | str) -> tuple[Tensor, Tensor]:
        """As `Dataset.split_off`, stratified by category."""
        return stratified(labels, count, *key)

    def fetch(self, root: str | None) -> None:
        """Download the photographs if they are missing, and write the cache."""
        base = folder(root)
        base.mkdir(parents=True, exist_ok=True)
        if not (base / _NAME / _TREE).is_dir():
            with FileLock(base / f".{_NAME}.lock"):
                if not (base / _NAME / _TREE).is_dir():
                    _download(base)
        self._decoded(base)

    def _decoded(self, base: Path) -> dict[str, Tensor]:
        """Images and labels of all photographs from the cache, which is written if it is missing."""
        samples = self._samples(base / _NAME / _TREE)
        path = folder(self.cache or str(base)) / f"{_NAME}-{self.image_size}.safetensors"
        return cached_images(path, {"all": samples}, self.image_size, resize=True)

    def _samples(self, tree: Path) -> Samples:
        """(path, label) of every photograph. Raises ValueError if the number of categories is not `classes`."""
        names, found = list_images(tree)
        categories = [name for name in names if name != _BACKGROUND]
        if len(categories) != self.classes:
            raise ValueError(f"dataset.classes={self.classes}, but {tree} has {len(categories)} categories")
        return [(path, categories.index(names[label])) for path, label in found if names[label] != _BACKGROUND]

    def read(self, root: str | None) -> Parts:
        """The decoded photographs, divided into training and test set."""
        tensors = self._decoded(folder(root))
        images, labels = tensors["all_images"], tensors["all_labels"]
        train, test = self.split_off(labels, round(self.test_share * len(labels)), "test", self.test_seed)
        return images[train], labels[train], images[test], labels[test]


def _download(base: Path) -> None:
    """Download and unpack into a temporary folder, then move: an interruption leaves no incomplete dataset."""
    from torchvision.datasets import Caltech101 as source

    partial = base / f"{_NAME}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        source(str(partial), download=True)
    except (OSError, RuntimeError) as error:
        raise FileNotFoundError(f"{base / _NAME / _TREE} is missing; download failed: {error}") from error
    (base / _NAME).mkdir(exist_ok=True)
    os.replace(partial / _NAME / _TREE, base / _NAME / _TREE)
    shutil.rmtree(partial)
