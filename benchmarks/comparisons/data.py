"""Padded crop, flip and normalisation of CIFAR-shaped images: lth's batched pipeline and per-image transforms."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from benchmarks.cases import RESNET20, timed_level
from benchmarks.clock import timed
from benchmarks.interleave import Arm, Comparison
from benchmarks.setting import Setting


class PerImage(Dataset):
    """Images that are transformed one by one, as by torchvision's datasets."""

    def __init__(self, images: Tensor, labels: Tensor, transform: Callable[[Tensor], Tensor]):
        self.images, self.labels, self.transform = images, labels, transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.transform(self.images[index]), self.labels[index]


def comparisons(setting: Setting) -> Iterator[Comparison]:
    """Complete shuffled passes with every batch on the training device; loaders without workers."""
    images = setting.amount(cpu=20_480, cuda=51_200, quick=64)
    few = setting.amount(cpu=2_560, cuda=2_560, quick=16)  # a slow arm takes as long with fewer images
    with timed_level(RESNET20, setting, f"dataset.train_size={images}") as level:
        raw, labels, *_ = level.data.read(None)
        arms = [Arm("lth", lambda: one_pass(level.loader(), setting.device), images)]
        for name, transform in per_image_transforms(level.config["dataset"]).items():
            dataset = PerImage(raw[:few], labels[:few], transform)
            loader = DataLoader(dataset, level.recipe.batch_size, shuffle=True, num_workers=0)
            arms.append(Arm(name, partial(one_pass, loader, setting.device), few))
        yield Comparison("CIFAR-shaped images", arms, "images/s")


def one_pass(batches: Iterable[tuple[Tensor, Tensor]], device: torch.device) -> float:
    """Seconds until all batches of one pass are on the device."""

    def run() -> None:
        for x, labels in batches:
            x.to(device), labels.to(device)

    return timed(run, device)


def per_image_transforms(dataset: dict) -> dict[str, transforms.Compose]:
    """The same augmentation by torchvision, for tensors and for PIL images."""
    size, channels = dataset["image_size"], dataset["channels"]
    shift = [transforms.RandomCrop(size, padding=4), transforms.RandomHorizontalFlip()]
    normalise = transforms.Normalize([dataset["mean"]] * channels, [dataset["std"]] * channels)
    return {
        "torchvision, tensors": transforms.Compose([*shift, transforms.ConvertImageDtype(torch.float32), normalise]),
        "torchvision, PIL": transforms.Compose([transforms.ToPILImage(), *shift, transforms.ToTensor(), normalise]),
    }
