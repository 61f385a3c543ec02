"""Images in one folder for each class, decoded by torchvision and PIL in worker processes."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from lth.datamodules._image_loader import Cut


def list_images(folder: Path) -> tuple[list[str], list[tuple[str, int]]]:
    """Names of the classes in the order of their labels, and (path, label) of every image.

    folder: holds one folder of images for each class

    Raises FileNotFoundError if the folder is missing or a class has no image.
    """
    from torchvision.datasets import ImageFolder

    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is missing; it should hold one folder of images for every class")
    found = ImageFolder(str(folder))
    return found.classes, found.samples


def check_same_classes(where: Path, classes: Mapping[str, Sequence[str]]) -> None:
    """Raise ValueError unless all parts have the same classes: otherwise, equal labels would mean different classes.

    where: path at the beginning of the message
    classes: part -> names of its classes
    """
    first, *others = (set(names) for names in classes.values())
    for other in others:
        if differing := sorted(first ^ other):
            raise ValueError(f"{where}: {' and '.join(classes)} differ in the classes {', '.join(differing[:5])}")


def decode_image(path: str) -> Any:
    """A file as a PIL image in RGB. Raises ValueError naming a damaged file."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except OSError as error:
        raise ValueError(f"{path} is damaged: {error}") from error


class ImageTree:
    """A `Source` of the images below a folder, numbered as by torchvision's `ImageFolder`.

    workers: number of processes that decode; 0 decodes in this process
    """

    def __init__(self, folder: Path, workers: int) -> None:
        self.workers = workers
        self.classes, samples = list_images(folder)
        # numpy strings have no reference counts, so forked workers share their memory; a list of str would be copied
        self.paths = np.array([path for path, _ in samples])
        self.labels = torch.tensor([label for _, label in samples])

    def read(self, samples: Tensor, cut: Cut, pixels: int, batch_size: int) -> Iterator[Tensor]:
        """See `Source.read`."""
        if not len(samples):
            return
        yield from DataLoader(
            _WindowDataset(self.paths, cut, pixels),
            batch_sampler=[index.tolist() for index in samples.split(batch_size)],
            num_workers=self.workers,
            collate_fn=torch.stack,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),  # without it DataLoader draws from the global generator
        )


class _WindowDataset(TorchDataset):
    """One crop of each image, resized: uint8 (3, pixels, pixels)."""

    def __init__(self, paths: Any, cut: Cut, pixels: int) -> None:
        self.paths, self.cut, self.pixels = paths, cut, pixels

    def __getitem__(self, index: int) -> Tensor:
        from torchvision.transforms import functional

        image = decode_image(str(self.paths[index]))
        size = np.array([[image.height, image.width]])
        window = self.cut(size, index)[0].tolist()
        return functional.pil_to_tensor(functional.resized_crop(image, *window, [self.pixels, self.pixels]))
