"""Datasets: small ones as one tensor on the training device, large ones decoded batch by batch.

Order and augmentation are pure functions of seed, level, epoch and image. Flips and normalisation, and for small images
all augmentation, are tensor operations on whole batches on the device.
"""

from lth.datamodules._augment import Augment
from lth.datamodules._loader import ArrayLoader, FixedLoader
from lth.datamodules._resized_crop import ResizedCrop
from lth.datamodules.acs_employment import ACSEmployment
from lth.datamodules.arrays import Arrays
from lth.datamodules.caltech101 import Caltech101
from lth.datamodules.cifar import CIFAR10, CIFAR100
from lth.datamodules.dataset import Dataset
from lth.datamodules.digits import Digits
from lth.datamodules.imagenet import ImageNet
from lth.datamodules.mnist import MNIST, FashionMNIST
from lth.datamodules.svhn import SVHN
from lth.datamodules.synthetic import Synthetic
from lth.datamodules.tiny_imagenet import TinyImageNet

__all__ = [
    "CIFAR10",
    "CIFAR100",
    "MNIST",
    "SVHN",
    "ACSEmployment",
    "ArrayLoader",
    "Arrays",
    "Augment",
    "Caltech101",
    "Dataset",
    "Digits",
    "FashionMNIST",
    "FixedLoader",
    "ImageNet",
    "ResizedCrop",
    "Synthetic",
    "TinyImageNet",
]
