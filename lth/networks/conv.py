"""Conv-2, Conv-4 and Conv-6: small VGGs without batch norm (Frankle & Carbin 2019, arXiv 1803.03635, figure 2)."""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from lth.networks._blocks import batch_norm_2d
from lth.networks._init import initialise_
from lth.networks._refuse import refuse_small
from lth.networks.mlp import MLP

WIDTHS = (64, 128, 256)  # of each pair of convolutions


class _ConvNet(nn.Module):
    """Pairs of 3x3 convolutions with max pooling after each pair, two hidden layers of 256 units, and a classifier."""

    def __init__(
        self, pairs: int, classes: int, channels: int, image_size: int, batch_norm: bool, bias: bool, affine: bool
    ) -> None:
        super().__init__()
        refuse_small(f"conv{2 * pairs}", image_size, 2**pairs)
        widths = [width for width in WIDTHS[:pairs] for _ in range(2)]
        self.convs = nn.ModuleList(
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias and not batch_norm)
            for inputs, outputs in zip([channels, *widths[:-1]], widths, strict=True)
        )
        self.norms = nn.ModuleList(batch_norm_2d(width, batch_norm, affine) for width in widths)
        self.head = MLP((256, 256), classes, widths[-1], image_size // 2**pairs, batch_norm, bias, affine)

    def forward(self, images: Tensor) -> Tensor:
        x = images
        for index, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            x = F.relu(norm(conv(x)))
            if index % 2:
                x = F.max_pool2d(x, 2)
        return self.head(x)


def conv_net(
    pairs: int,
    classes: int,
    channels: int,
    image_size: int,
    batch_norm: bool = False,
    bias: bool = True,
    affine: bool = True,
    init: str = "kaiming_normal",
    fan: str = "fan_in",
) -> _ConvNet:
    """Conv-2, Conv-4 or Conv-6 with initialised weights (arXiv 1803.03635, 1905.01067).

    pairs: pairs of convolutions, 1 to 3
    batch_norm: before every ReLU, in place of the biases there
    bias: whether layers without batch norm have a bias
    affine: whether batch norm has weight and bias
    init, fan: see `initialise_`

    Raises ValueError for images below 2**pairs pixels.
    """
    return initialise_(_ConvNet(pairs, classes, channels, image_size, batch_norm, bias, affine), init, fan)


def conv2(classes: int, channels: int, image_size: int, **options: Any) -> _ConvNet:
    """Two convolutions of 64 channels, max pooling, two hidden layers of 256 units; 4,300,992 weights on CIFAR-10.

    Options as for `conv_net`.
    """
    return conv_net(1, classes, channels, image_size, **options)


def conv4(classes: int, channels: int, image_size: int, **options: Any) -> _ConvNet:
    """Pairs of convolutions of 64 and 128 channels, else as `conv2`; 2,425,024 weights on CIFAR-10."""
    return conv_net(2, classes, channels, image_size, **options)


def conv6(classes: int, channels: int, image_size: int, **options: Any) -> _ConvNet:
    """Pairs of convolutions of 64, 128 and 256 channels, else as `conv2`; 2,261,184 weights on CIFAR-10."""
    return conv_net(3, classes, channels, image_size, **options)
