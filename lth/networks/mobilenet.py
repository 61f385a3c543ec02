"""MobileNets with strides for CIFAR or for ImageNet.

Version 1 is Howard et al. 2017 (arXiv 1704.04861), version 2 Sandler et al. 2018 (arXiv 1801.04381). Both use ReLU in
place of ReLU6, which is meant for low precision, as the pruning papers do on CIFAR.
"""

from torch import Tensor, nn

from lth.networks._blocks import ConvBN, is_imagenet_stem, make_shortcut
from lth.networks._init import initialise_
from lth.networks._refuse import refuse_small

# Version 1: (outputs, stride) of each depthwise-separable convolution.
_SEPARABLE = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))
# Version 2: (expansion, outputs, blocks, stride) of each stage, for large images.
_INVERTED = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
_UNSTRIDED_STAGE = 1  # of version 2: stride 1 on small images, like the stem


class _Separable(nn.Module):
    """A depthwise 3x3 convolution, then a 1x1 convolution."""

    def __init__(self, inputs: int, outputs: int, stride: int, affine: bool) -> None:
        super().__init__()
        self.depthwise = ConvBN(inputs, inputs, 3, stride, groups=inputs, affine=affine)
        self.pointwise = ConvBN(inputs, outputs, 1, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(x))


class _Inverted(nn.Module):
    """1x1 to `expansion` times the channels, depthwise 3x3, 1x1 without ReLU; a shortcut if the stride is 1."""

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


def _separable_blocks(affine: bool) -> nn.Sequential:
    """The depthwise-separable blocks of MobileNet v1."""
    inputs = (32, *(outputs for outputs, _ in _SEPARABLE[:-1]))
    return nn.Sequential(*(_Separable(i, o, stride, affine) for i, (o, stride) in zip(inputs, _SEPARABLE, strict=True)))


def _inverted_blocks(large: bool, affine: bool) -> nn.Sequential:
    """The inverted residuals of MobileNet v2."""
    blocks = nn.Sequential()
    inputs = 32
    for stage, (expansion, outputs, depth, stride) in enumerate(_INVERTED):
        for number in range(depth):
            strided = number == 0 and (large or stage != _UNSTRIDED_STAGE)
            blocks.append(_Inverted(inputs, outputs, expansion, stride if strided else 1, affine))
            inputs = outputs
    blocks.add_module("head", ConvBN(inputs, 1280, 1, affine=affine))
    return blocks


class MobileNet(nn.Module):
    """A 3x3 stem of 32 channels, blocks, global average pooling and a linear classifier.

    blocks: module from 32 to `width` channels
    large: whether the stem has stride 2
    bias: whether the classifier has a bias; the convolutions have batch norm instead
    affine: whether batch norm has weight and bias
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


def _is_large(stem: str, image_size: int) -> bool:
    """Whether to use the strides for ImageNet, see `mobilenet_v1`."""
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

    stem: auto, cifar (stride 1) or imagenet (stride 2); auto is imagenet above 64 pixels
    bias: whether the classifier has a bias
    affine: whether batch norm has weight and bias
    init, fan: see `initialise_`

    Raises ValueError for another stem, and for images below 8 pixels (imagenet: 32).
    """
    large = _is_large(stem, image_size)
    return initialise_(
        MobileNet(_separable_blocks(affine), _SEPARABLE[-1][0], classes, channels, large, bias, affine), init, fan
    )


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
    """MobileNetV2; 2,261,824 weights in 58 layers on CIFAR-10.

    As in the pruning papers, blocks of stride 1 that change the number of channels have 1x1 shortcuts.

    stem: auto, cifar (stem and second stage have stride 1) or imagenet (stride 2); auto is imagenet above 64 pixels

    All else as for `mobilenet_v1`.
    """
    large = _is_large(stem, image_size)
    blocks = _inverted_blocks(large, affine)
    return initialise_(MobileNet(blocks, 1280, classes, channels, large, bias, affine), init, fan)
