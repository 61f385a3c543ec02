"""ResNets of four stages, for small and large images (He et al. 2016, arXiv 1512.03385, table 1)."""

from collections.abc import Sequence
from typing import Any

from lth.networks._blocks import BasicBlock, Bottleneck
from lth.networks._residual import ResNet, Stages, resnet

WIDTHS = (64, 128, 256, 512)


def resnet18(classes: int, channels: int, image_size: int, widths: Sequence[int] = WIDTHS, **options: Any) -> ResNet:
    """ResNet-18; 11,164,352 weights on CIFAR-10, 11,678,912 on ImageNet. Options as for `resnet`."""
    return resnet(Stages(BasicBlock, (2, 2, 2, 2), widths), classes, channels, image_size, **options)


def resnet34(classes: int, channels: int, image_size: int, widths: Sequence[int] = WIDTHS, **options: Any) -> ResNet:
    """ResNet-34. Options as for `resnet`."""
    return resnet(Stages(BasicBlock, (3, 4, 6, 3), widths), classes, channels, image_size, **options)


def resnet50(classes: int, channels: int, image_size: int, widths: Sequence[int] = WIDTHS, **options: Any) -> ResNet:
    """ResNet-50; 23,467,712 weights on CIFAR-10, 25,502,912 on ImageNet. Options as for `resnet`."""
    return resnet(Stages(Bottleneck, (3, 4, 6, 3), widths), classes, channels, image_size, **options)
