"""Wide ResNets with pre-activation blocks (Zagoruyko & Komodakis 2016, arXiv 1605.07146), without dropout."""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from lth.networks._init import initialise_
from lth.networks._refuse import refuse_depth, refuse_small


class _PreActivationBlock(nn.Module):
    """Two 3x3 convolutions, each after batch norm and ReLU; a 1x1 shortcut if shapes differ, after the first ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int, affine: bool) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs, affine=affine)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs, affine=affine)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        same = stride == 1 and inputs == outputs
        self.shortcut = None if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(self.bn1(x))
        kept = x if self.shortcut is None else self.shortcut(active)
        return self.conv2(F.relu(self.bn2(self.conv1(active)))) + kept


def _make_stage(inputs: int, outputs: int, blocks: int, stride: int, affine: bool) -> nn.Module:
    first = _PreActivationBlock(inputs, outputs, stride, affine)
    return nn.Sequential(first, *(_PreActivationBlock(outputs, outputs, 1, affine) for _ in range(blocks - 1)))


class WideResNet(nn.Module):
    """A 3x3 stem of 16 channels, stages of 16, 32 and 64 times `width` channels, pooling and a linear classifier.

    blocks: number of blocks per stage
    """

    def __init__(
        self, blocks: int, width: int, classes: int, channels: int, image_size: int, bias: bool, affine: bool
    ) -> None:
        super().__init__()
        refuse_small("a wide ResNet", image_size, 4)
        self.conv1 = nn.Conv2d(channels, 16, 3, 1, 1, bias=False)
        self.layer1 = _make_stage(16, 16 * width, blocks, 1, affine)
        self.layer2 = _make_stage(16 * width, 32 * width, blocks, 2, affine)
        self.layer3 = _make_stage(32 * width, 64 * width, blocks, 2, affine)
        self.bn = nn.BatchNorm2d(64 * width, affine=affine)
        self.classifier = nn.Linear(64 * width, classes, bias=bias)

    def forward(self, images: Tensor) -> Tensor:
        x = self.layer3(self.layer2(self.layer1(self.conv1(images))))
        return self.classifier(F.relu(self.bn(x)).mean((2, 3)))


def wide_resnet(
    depth: int,
    width: int,
    classes: int,
    channels: int,
    image_size: int,
    bias: bool = True,
    affine: bool = True,
    init: str = "kaiming_normal",
    fan: str = "fan_out",
) -> WideResNet:
    """A wide ResNet with initialised weights.

    depth: layers, 6n + 4
    width: factor of the channels, 1 for those of ResNet-20
    bias: whether the classifier has a bias; the convolutions have none
    affine: whether batch norm has weight and bias
    init, fan: see `initialise_`

    Raises ValueError for another depth, and for images below 4 pixels.
    """
    refuse_depth("wide ResNet", depth, 6, 4)
    net = WideResNet((depth - 4) // 6, width, classes, channels, image_size, bias, affine)
    return initialise_(net, init, fan)


def wide_resnet_28_2(classes: int, channels: int, image_size: int, **options: Any) -> WideResNet:
    """WRN-28-2; 1,463,984 weights on CIFAR-10. Options as for `wide_resnet`."""
    return wide_resnet(28, 2, classes, channels, image_size, **options)


def wide_resnet_28_10(classes: int, channels: int, image_size: int, **options: Any) -> WideResNet:
    """WRN-28-10; 36.5 million weights on CIFAR-10. Options as for `wide_resnet`."""
    return wide_resnet(28, 10, classes, channels, image_size, **options)
