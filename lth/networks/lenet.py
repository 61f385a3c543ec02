"""LeNets as pruning papers use them (LeCun et al. 1998; the widths are Caffe's and Han et al.'s, arXiv 1506.02626)."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from lth.networks._blocks import batch_norm_2d
from lth.networks._init import initialise_
from lth.networks._refuse import refuse_small
from lth.networks.mlp import MLP, mlp


def lenet_300_100(classes: int, channels: int, image_size: int, **options: Any) -> MLP:
    """Two hidden layers of 300 and 100 units; 266,200 weights, biases apart, on 28x28 grey images of ten classes.

    Options as for `mlp`.
    """
    return mlp((300, 100), classes, channels, image_size, **options)


class _LeNet5(nn.Module):
    """Two 5x5 convolutions, each with ReLU and max pooling, hidden linear layers with ReLU, and a classifier."""

    def __init__(
        self,
        widths: Sequence[int],
        classes: int,
        channels: int,
        image_size: int,
        batch_norm: bool,
        bias: bool,
        affine: bool,
    ) -> None:
        super().__init__()
        refuse_small("lenet5", image_size, 4)
        if len(widths) < 3 or min(widths) < 1:
            raise ValueError(
                f"widths={list(widths)} makes no LeNet-5; valid: two convolutions and one or more hidden layers, "
                "positive, e.g. [20, 50, 500]"
            )
        first, second, *hidden = widths
        # Images below 16 pixels are padded: two unpadded 5x5 convolutions with pooling would leave no pixel.
        padding = 0 if image_size >= 16 else 2
        size = image_size
        for _ in range(2):
            size = (size + 2 * padding - 4) // 2
        with_bias = bias and not batch_norm
        self.conv1 = nn.Conv2d(channels, first, 5, padding=padding, bias=with_bias)
        self.norm1 = batch_norm_2d(first, batch_norm, affine)
        self.conv2 = nn.Conv2d(first, second, 5, padding=padding, bias=with_bias)
        self.norm2 = batch_norm_2d(second, batch_norm, affine)
        self.head = MLP(hidden, classes, second, size, batch_norm, bias, affine)

    def forward(self, images: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.norm1(self.conv1(images))), 2)
        x = F.max_pool2d(F.relu(self.norm2(self.conv2(x))), 2)
        return self.head(x)


def lenet5(
    classes: int,
    channels: int,
    image_size: int,
    batch_norm: bool = False,
    bias: bool = True,
    affine: bool = True,
    init: str = "kaiming_normal",
    fan: str = "fan_in",
    widths: Sequence[int] = (20, 50, 500),
) -> _LeNet5:
    """LeNet-5. With the default widths, those of Caffe, it has 430,500 weights on 28x28 grey images of ten classes.

    widths: channels of the two convolutions, then units of the hidden layers; (6, 16, 120, 84) in LeCun et al. 1998
    Other options as for `conv_net`.

    Raises ValueError for images below 4 pixels, fewer than three widths and widths below 1.
    """
    return initialise_(_LeNet5(widths, classes, channels, image_size, batch_norm, bias, affine), init, fan)
