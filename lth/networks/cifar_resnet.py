"""ResNets of three stages for CIFAR (He et al. 2016, arXiv 1512.03385, section 4.2)."""

from collections.abc import Sequence
from typing import Any

from lth.networks._blocks import BasicBlock
from lth.networks._refuse import refuse_depth
from lth.networks._residual import ResNet, Stages, resnet

WIDTHS = (16, 32, 64)
_DOUBLE_WIDTHS = (32, 64, 128)


def cifar_resnet(
    depth: int, classes: int, channels: int, image_size: int, widths: Sequence[int] = WIDTHS, **options: Any
) -> ResNet:
    """A ResNet with a 3x3 stem for images of any size.

    depth: layers, 6n + 2
    widths: channels of the three stages
    options: see `resnet`; `stem` is fixed
    """
    refuse_depth("CIFAR ResNet", depth, 6, 2)
    stages = Stages(BasicBlock, ((depth - 2) // 6,) * 3, widths)
    return resnet(stages, classes, channels, image_size, stem="cifar", **options)


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
    """ResNet-32 with twice the channels (GraSP, Wang et al. 2020, arXiv 2002.07376). Options as for `cifar_resnet`."""
    return cifar_resnet(32, classes, channels, image_size, _DOUBLE_WIDTHS, **options)
