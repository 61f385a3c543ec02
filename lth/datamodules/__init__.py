"""Datasets as one tensor on the training device: shuffling and augmentation are batched tensor operations there."""

from lth.datamodules.arrays import Arrays
from lth.datamodules.augment import Augment
from lth.datamodules.cifar import CIFAR10, CIFAR100
from lth.datamodules.digits import Digits
from lth.datamodules.loader import ArrayLoader, FixedLoader
from lth.datamodules.mnist import MNIST, FashionMNIST
from lth.datamodules.svhn import SVHN
from lth.datamodules.synthetic import Synthetic

__all__ = [
    "CIFAR10",
    "CIFAR100",
    "MNIST",
    "SVHN",
    "ArrayLoader",
    "Arrays",
    "Augment",
    "Digits",
    "FashionMNIST",
    "FixedLoader",
    "Synthetic",
]
