"""Epochs of JPEGs with random resized crop and flip: lth's loaders and torchvision's usual dataset and loader."""

import os
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from benchmarks.comparisons.data import one_pass
from benchmarks.interleave import Arm, Comparison
from benchmarks.setting import Setting
from lth.datamodules import ImageNet

MEAN, STD, CLASSES, BATCH = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225], 4, 64


def comparisons(setting: Setting) -> Iterator[Comparison]:
    """Complete passes with every batch on the training device, and one decoding thread or process per core.

    FFCV, if it is installed, reads .beton files of the same images, encoded again with quality 90.
    """
    images = setting.amount(cpu=1024, cuda=4096, quick=32)
    pixels, cores = (16, 1) if setting.quick else (224, len(os.sched_getaffinity(0)))
    with TemporaryDirectory() as folder:
        root = Path(folder)
        photographs(root / "train", images, (50, 40) if setting.quick else (500, 375))
        photographs(root / "val", 4 * CLASSES, (50, 40))
        loaders = ["ffcv", "torchvision"] if find_spec("ffcv") else ["torchvision"]
        arms = [Arm(f"lth, {name}", lth_pass(root, name, pixels, cores, setting), images) for name in loaders]
        arms.append(Arm("torchvision alone", partial(one_pass, usual(root, pixels, cores), setting.device), images))
        yield Comparison("JPEGs of 500 x 375 to 224 pixels", arms, "images/s")


def photographs(folder: Path, count: int, size: tuple[int, int]) -> None:
    """Write JPEGs of smooth shapes with some noise, which compress about like photographs."""
    random = np.random.default_rng(0)
    for number in range(count):
        shapes = Image.fromarray(random.integers(0, 256, (24, 32, 3), dtype=np.uint8))
        pixels = np.asarray(shapes.resize(size, Image.Resampling.BICUBIC)) + random.normal(0, 6, (size[1], size[0], 3))
        path = folder / f"n{number % CLASSES:08d}" / f"{number}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=90)


def lth_pass(root: Path, loader: str, pixels: int, workers: int, setting: Setting) -> Any:
    """A pass over lth's training loader. FFCV compiles its decoder in the warm-up turn."""
    if loader == "ffcv":
        from lth.datamodules.ffcv.write_beton import main

        main([str(root)])
    shape: dict[str, Any] = {
        "classes": CLASSES,
        "channels": 3,
        "image_size": pixels,
        "scale": 255,
        "mean": MEAN,
        "std": STD,
    }
    data = ImageNet(root=str(root), loader=loader, workers=workers, batch_size=BATCH, **shape)
    data.setup()
    images = data.train_dataloader()
    images.images = images.images._replace(device=setting.device)
    return lambda: one_pass(images, setting.device)


def usual(root: Path, pixels: int, workers: int) -> DataLoader:
    """The usual dataset and loader of torchvision."""
    augment = [transforms.RandomResizedCrop(pixels), transforms.RandomHorizontalFlip()]
    transform = transforms.Compose([*augment, transforms.ToTensor(), transforms.Normalize(MEAN, STD)])
    dataset = ImageFolder(str(root / "train"), transform)
    return DataLoader(dataset, BATCH, shuffle=True, num_workers=workers, pin_memory=torch.cuda.is_available())
