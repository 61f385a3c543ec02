"""The residual network of several stages that `resnet` and `cifar_resnet` are made of (arXiv 1512.03385)."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from lth.networks._blocks import BasicBlock, Bottleneck, is_imagenet_stem
from lth.networks._init import initialise_
from lth.networks._refuse import refuse_small

Block = type[BasicBlock] | type[Bottleneck]


class Stages(NamedTuple):
    """The stages of a ResNet.

    block: the residual block
    depths: blocks of each stage
    widths: channels of each stage; a `Bottleneck` returns four times as many
    """

    block: Block
    depths: Sequence[int]
    widths: Sequence[int]


def _make_stage(
    block: Block,
    inputs: int,
    width: int,
    depth: int,
    stride: int,
    shortcut: str,
    affine: bool,
) -> nn.Module:
    """`depth` blocks, the first with the stride."""
    outputs = width * block.expansion
    first = block(inputs, width, stride, shortcut, affine)
    return nn.Sequential(first, *(block(outputs, width, 1, shortcut, affine) for _ in range(depth - 1)))


class ResNet(nn.Module):
    """A stem, stages of which all but the first halve the image, global average pooling and a linear classifier.

    stem: cifar (3x3 convolution), imagenet (7x7 convolution and max pooling, both of stride 2), or auto, which is
        imagenet above 64 pixels
    shortcut: conv (1x1 convolution and batch norm) or pad (strided slice and zero channels)
    bias: whether the classifier has a bias; the convolutions have batch norm instead
    affine: whether batch norm has weight and bias

    Raises ValueError for another stem or shortcut, and for an image that the strides reduce to nothing.
    """

    def __init__(
        self,
        stages: Stages,
        classes: int,
        channels: int,
        image_size: int,
        stem: str = "auto",
        shortcut: str = "conv",
        bias: bool = True,
        affine: bool = True,
    ) -> None:
        super().__init__()
        block, depths, widths = stages
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
            self.add_module(name, _make_stage(block, inputs, width, depth, stride, shortcut, affine))
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
    stages: Stages,
    classes: int,
    channels: int,
    image_size: int,
    init: str = "kaiming_normal",
    fan: str = "fan_out",
    **options: Any,
) -> ResNet:
    """A `ResNet` with initialised weights.

    init, fan: see `initialise_`
    options: stem, shortcut, bias, affine, see `ResNet`
    """
    return initialise_(ResNet(stages, classes, channels, image_size, **options), init, fan)
