"""MobileNets, with the strides of CIFAR or of ImageNet.

Version 1 is Howard et al. 2017 (arXiv 1704.04861), version 2 Sandler et al. 2018 (1801.04381).
Both use plain ReLU: ReLU6 serves low precision, and the pruning papers' CIFAR versions leave it out.
"""

from torch import Tensor, nn

from lth.networks.conv_bn import ConvBN
from lth.networks.init import initialise_
from lth.networks.refuse import refuse_small
from lth.networks.residual import make_shortcut
from lth.networks.stem import is_imagenet_stem

# Version 1: (outputs, stride) of each depthwise-separable convolution.
SEPARABLE = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))
# Version 2: (expansion, outputs, blocks, stride) of each stage, for large images.
INVERTED = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
UNSTRIDED_STAGE = 1  # of version 2 on small images, besides the stem


class Separable(nn.Module):
    """A 3x3 convolution of each channel by itself, then a 1x1 across channels."""

    def __init__(self, inputs: int, outputs: int, stride: int, affine: bool) -> None:
        super().__init__()
        self.depthwise = ConvBN(inputs, inputs, 3, stride, groups=inputs, affine=affine)
        self.pointwise = ConvBN(inputs, outputs, 1, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(x))


class Inverted(nn.Module):
    """Widen by 1x1, convolve each channel, narrow by 1x1 without ReLU; around it a shortcut where the stride is 1."""

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int, affine: bool) -> None:
        super().__init__()
        width = inputs * expansion
        self.expand = ConvBN(inputs, width, 1, affine=affine)
        self.depthwise = ConvBN(width, width, 3, stride, groups=width, affine=affine)
        self.project = ConvBN(width, outputs, 1, active=False, affine=affine)
        self.shortcut = make_shortcut("conv", inputs, outputs, 1, affine) if stride == 1 else None

    def forward(self, x: Tensor) -> Tensor:
        out = self.project(self.depthwise(self.expand(x)))
        return out if self.shortcut is None else out + self.shortcut(x)


def separable_blocks(affine: bool) -> nn.Sequential:
    """The depthwise-separable blocks of MobileNet v1."""
    inputs = (32, *(outputs for outputs, _ in SEPARABLE[:-1]))
    return nn.Sequential(*(Separable(i, o, stride, affine) for i, (o, stride) in zip(inputs, SEPARABLE, strict=True)))


def inverted_blocks(large: bool, affine: bool) -> nn.Sequential:
    """The inverted residuals of MobileNet v2."""
    blocks = nn.Sequential()
    inputs = 32
    for stage, (expansion, outputs, depth, stride) in enumerate(INVERTED):
        for number in range(depth):
            strided = number == 0 and (large or stage != UNSTRIDED_STAGE)
            blocks.append(Inverted(inputs, outputs, expansion, stride if strided else 1, affine))
            inputs = outputs
    blocks.add_module("head", ConvBN(inputs, 1280, 1, affine=affine))
    return blocks


class MobileNet(nn.Module):
    """A 3x3 stem of 32 channels, `blocks` that end with `width` channels, global average pooling, a linear classifier.

    `bias` is the classifier's: every convolution is followed by batch norm, which would subtract one.
    """

    def __init__(
        self, blocks: nn.Module, width: int, classes: int, channels: int, large: bool, bias: bool, affine: bool
    ) -> None:
        super().__init__()
        self.stem = ConvBN(channels, 32, 3, 2 if large else 1, affine=affine)
        self.blocks = blocks
        self.classifier = nn.Linear(width, classes, bias=bias)

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.blocks(self.stem(images)).mean((2, 3)))


def is_large(stem: str, image_size: int) -> bool:
    """Whether the strides of ImageNet apply, by name or by image size."""
    large = is_imagenet_stem(stem, image_size)
    refuse_small(f"a MobileNet (stem={stem})", image_size, 32 if large else 8)
    return large


def mobilenet_v1(
    classes: int,
    channels: int,
    image_size: int,
    stem: str = "auto",
    bias: bool = True,
    affine: bool = True,
    init: str = "kaiming_normal",
    fan: str = "fan_out",
) -> MobileNet:
    """MobileNet; 3,195,328 weights on CIFAR-10.

    `stem` is auto, cifar (stride 1) or imagenet (stride 2); auto is imagenet above 64 pixels.
    Raises `ValueError` for any other, and for an image below 8 pixels (imagenet: 32).
    """
    large = is_large(stem, image_size)
    return initialise_(MobileNet(separable_blocks(affine), 1024, classes, channels, large, bias, affine), init, fan)


def mobilenet_v2(
    classes: int,
    channels: int,
    image_size: int,
    stem: str = "auto",
    bias: bool = True,
    affine: bool = True,
    init: str = "kaiming_normal",
    fan: str = "fan_out",
) -> MobileNet:
    """MobileNetV2; 2,261,824 weights in 58 layers on CIFAR-10, where blocks of stride 1 that widen have 1x1 shortcuts.

    `stem` is auto, cifar (stem and second stage of stride 1) or imagenet (both of stride 2); auto is imagenet above 64
    pixels. Raises `ValueError` for any other, and for an image below 8 pixels (imagenet: 32).
    """
    large = is_large(stem, image_size)
    blocks = inverted_blocks(large, affine)
    return initialise_(MobileNet(blocks, 1280, classes, channels, large, bias, affine), init, fan)
