"""The slim ResNets of three stages made for CIFAR (He et al. 2016, arXiv 1512.03385, section 4.2)."""

from collections.abc import Sequence
from typing import Any

from lth.networks.refuse import refuse_depth
from lth.networks.residual import BasicBlock
from lth.networks.resnet import ResNet, resnet

WIDTHS = (16, 32, 64)
DOUBLE_WIDTHS = (32, 64, 128)


def cifar_resnet(
    depth: int, classes: int, channels: int, image_size: int, widths: Sequence[int] = WIDTHS, **options: Any
) -> ResNet:
    """A ResNet of `depth` = 6n + 2 layers and a 3x3 stem whatever the image. Options as for `resnet`, less `stem`."""
    refuse_depth("CIFAR ResNet", depth, 6, 2)
    depths = ((depth - 2) // 6,) * 3
    return resnet(BasicBlock, depths, classes, channels, image_size, widths, stem="cifar", **options)


def resnet20(classes: int, channels: int, image_size: int, **options: Any) -> ResNet:
    """ResNet-20; 270,896 weights on CIFAR-10, 268,336 with shortcut=pad. Options as for `cifar_resnet`."""
    return cifar_resnet(20, classes, channels, image_size, **options)


def resnet32(classes: int, channels: int, image_size: int, **options: Any) -> ResNet:
    """ResNet-32; 464,432 weights on CIFAR-10, 461,872 with shortcut=pad. Options as for `cifar_resnet`."""
    return cifar_resnet(32, classes, channels, image_size, **options)


def resnet44(classes: int, channels: int, image_size: int, **options: Any) -> ResNet:
    """ResNet-44. Options as for `cifar_resnet`."""
    return cifar_resnet(44, classes, channels, image_size, **options)


def resnet56(classes: int, channels: int, image_size: int, **options: Any) -> ResNet:
    """ResNet-56. Options as for `cifar_resnet`."""
    return cifar_resnet(56, classes, channels, image_size, **options)


def resnet110(classes: int, channels: int, image_size: int, **options: Any) -> ResNet:
    """ResNet-110. Options as for `cifar_resnet`."""
    return cifar_resnet(110, classes, channels, image_size, **options)


def resnet32_double(classes: int, channels: int, image_size: int, **options: Any) -> ResNet:
    """ResNet-32 twice as wide, as GraSP uses it (Wang et al. 2020, arXiv 2002.07376). Options as for `cifar_resnet`."""
    return cifar_resnet(32, classes, channels, image_size, DOUBLE_WIDTHS, **options)
