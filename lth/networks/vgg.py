"""VGG with batch norm and one linear classifier (Simonyan & Zisserman 2015, arXiv 1409.1556, columns A, B, D and E)."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from lth.networks._blocks import ConvBN
from lth.networks._init import initialise_
from lth.networks._refuse import refuse_small

WIDTHS = (64, 128, 256, 512, 512)


def _make_stage(inputs: int, outputs: int, depth: int, affine: bool) -> nn.Module:
    """`depth` 3x3 convolutions of `outputs` channels."""
    return nn.Sequential(*(ConvBN(inputs if n == 0 else outputs, outputs, affine=affine) for n in range(depth)))


class VGG(nn.Module):
    """Five stages of 3x3 convolutions with max pooling after each, global average pooling and a linear classifier.

    Pooling rounds sizes up, so that small images keep one pixel; for multiples of 32 pixels nothing is rounded.
    """

    def __init__(
        self, depths: Sequence[int], classes: int, channels: int, image_size: int, bias: bool, affine: bool
    ) -> None:
        super().__init__()
        refuse_small("VGG", image_size, 8)
        self.stages = [f"stage{number}" for number in range(1, len(WIDTHS) + 1)]
        sizes = (channels, *WIDTHS)
        for name, inputs, outputs, depth in zip(self.stages, sizes[:-1], WIDTHS, depths, strict=True):
            self.add_module(name, _make_stage(inputs, outputs, depth, affine))
        self.classifier = nn.Linear(WIDTHS[-1], classes, bias=bias)

    def forward(self, images: Tensor) -> Tensor:
        x = images
        for name in self.stages:
            x = F.max_pool2d(getattr(self, name)(x), 2, ceil_mode=True)
        return self.classifier(x.mean((2, 3)))


def vgg(
    depths: Sequence[int],
    classes: int,
    channels: int,
    image_size: int,
    bias: bool = True,
    affine: bool = True,
    init: str = "kaiming_normal",
    fan: str = "fan_out",
) -> VGG:
    """A `VGG` with initialised weights.

    depths: convolutions of each stage
    bias: whether the classifier has a bias; the convolutions have batch norm instead
    affine: whether batch norm has weight and bias
    init, fan: see `initialise_`

    Raises ValueError for images below 8 pixels.
    """
    return initialise_(VGG(depths, classes, channels, image_size, bias, affine), init, fan)


def vgg11(classes: int, channels: int, image_size: int, **options: Any) -> VGG:
    """VGG-11. Options as for `vgg`."""
    return vgg((1, 1, 2, 2, 2), classes, channels, image_size, **options)


def vgg13(classes: int, channels: int, image_size: int, **options: Any) -> VGG:
    """VGG-13. Options as for `vgg`."""
    return vgg((2, 2, 2, 2, 2), classes, channels, image_size, **options)


def vgg16(classes: int, channels: int, image_size: int, **options: Any) -> VGG:
    """VGG-16; 14,715,584 weights on CIFAR-10. Options as for `vgg`."""
    return vgg((2, 2, 3, 3, 3), classes, channels, image_size, **options)


def vgg19(classes: int, channels: int, image_size: int, **options: Any) -> VGG:
    """VGG-19; 20,024,000 weights on CIFAR-10. Options as for `vgg`."""
    return vgg((2, 2, 4, 4, 4), classes, channels, image_size, **options)
