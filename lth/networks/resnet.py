"""ResNets of four stages, for small and large images (He et al. 2016, arXiv 1512.03385, table 1)."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from lth.networks.init import initialise_
from lth.networks.refuse import refuse_small
from lth.networks.residual import BasicBlock, Bottleneck
from lth.networks.stem import is_imagenet_stem

Block = type[BasicBlock] | type[Bottleneck]
WIDTHS = (64, 128, 256, 512)


def make_stage(
    block: Block, inputs: int, width: int, depth: int, stride: int, shortcut: str, affine: bool
) -> nn.Module:
    """`depth` blocks of which the first holds the stride."""
    outputs = width * block.expansion
    first = block(inputs, width, stride, shortcut, affine)
    return nn.Sequential(first, *(block(outputs, width, 1, shortcut, affine) for _ in range(depth - 1)))


class ResNet(nn.Module):
    """A stem, stages that halve the image (all but the first), global average pooling and a linear classifier.

    The small stem is a 3x3 convolution; the ImageNet stem is a 7x7 of stride 2 and a max-pool of stride 2.
    `bias` is the classifier's: every convolution is followed by batch norm, which would subtract one.
    """

    def __init__(
        self,
        block: Block,
        widths: Sequence[int],
        depths: Sequence[int],
        classes: int,
        channels: int,
        image_size: int,
        stem: str,
        shortcut: str,
        bias: bool,
        affine: bool,
    ) -> None:
        super().__init__()
        self.large = is_imagenet_stem(stem, image_size)
        halvings = len(widths) - 1 + 2 * self.large
        refuse_small(f"a ResNet that halves {halvings} times (stem={stem})", image_size, 2**halvings)
        kernel, stride, padding = (7, 2, 3) if self.large else (3, 1, 1)
        self.conv1 = nn.Conv2d(channels, widths[0], kernel, stride, padding, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0], affine=affine)
        self.stages = [f"layer{number}" for number in range(1, len(widths) + 1)]
        inputs = widths[0]
        for name, width, depth in zip(self.stages, widths, depths, strict=True):
            stride = 1 if name == "layer1" else 2
            self.add_module(name, make_stage(block, inputs, width, depth, stride, shortcut, affine))
            inputs = width * block.expansion
        self.classifier = nn.Linear(inputs, classes, bias=bias)

    def forward(self, images: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(images)))
        if self.large:
            x = F.max_pool2d(x, 3, 2, 1)
        for name in self.stages:
            x = getattr(self, name)(x)
        return self.classifier(x.mean((2, 3)))


def resnet(
    block: Block,
    depths: Sequence[int],
    classes: int,
    channels: int,
    image_size: int,
    widths: Sequence[int] = WIDTHS,
    stem: str = "auto",
    shortcut: str = "conv",
    bias: bool = True,
    affine: bool = True,
    init: str = "kaiming_normal",
    fan: str = "fan_out",
) -> ResNet:
    """A `ResNet` of `depths` blocks per stage, its weights drawn by `init`.

    `stem` is auto, cifar or imagenet (auto: imagenet above 64 pixels); `shortcut` is conv (1x1 and batch norm) or pad
    (strided slice and zero channels). Raises `ValueError` for any other, and for an image smaller than the strides.
    """
    net = ResNet(block, widths, depths, classes, channels, image_size, stem, shortcut, bias, affine)
    return initialise_(net, init, fan)


def resnet18(classes: int, channels: int, image_size: int, **options: Any) -> ResNet:
    """ResNet-18; 11,164,352 weights on CIFAR-10, 11,678,912 on ImageNet. Options as for `resnet`."""
    return resnet(BasicBlock, (2, 2, 2, 2), classes, channels, image_size, **options)


def resnet34(classes: int, channels: int, image_size: int, **options: Any) -> ResNet:
    """ResNet-34. Options as for `resnet`."""
    return resnet(BasicBlock, (3, 4, 6, 3), classes, channels, image_size, **options)


def resnet50(classes: int, channels: int, image_size: int, **options: Any) -> ResNet:
    """ResNet-50; 23,467,712 weights on CIFAR-10, 25,502,912 on ImageNet. Options as for `resnet`."""
    return resnet(Bottleneck, (3, 4, 6, 3), classes, channels, image_size, **options)
