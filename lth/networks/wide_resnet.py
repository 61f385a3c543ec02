"""Wide ResNets with pre-activation blocks (Zagoruyko & Komodakis 2016, arXiv 1605.07146), without dropout."""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from lth.networks.init import initialise_
from lth.networks.refuse import refuse_depth, refuse_small


class PreActivationBlock(nn.Module):
    """Batch norm and ReLU before each of two 3x3 convolutions. A 1x1 shortcut reads the activated input."""

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


class WideResNet(nn.Module):
    """A 3x3 stem of 16 channels, three stages of 16, 32 and 64 times `width`, pooling and a linear classifier."""

    def __init__(
        self, blocks: int, width: int, classes: int, channels: int, image_size: int, bias: bool, affine: bool
    ) -> None:
        super().__init__()
        refuse_small("a wide ResNet", image_size, 4)
        self.conv1 = nn.Conv2d(channels, 16, 3, 1, 1, bias=False)
        self.layer1 = self.make_stage(16, 16 * width, blocks, 1, affine)
        self.layer2 = self.make_stage(16 * width, 32 * width, blocks, 2, affine)
        self.layer3 = self.make_stage(32 * width, 64 * width, blocks, 2, affine)
        self.bn = nn.BatchNorm2d(64 * width, affine=affine)
        self.classifier = nn.Linear(64 * width, classes, bias=bias)

    @staticmethod
    def make_stage(inputs: int, outputs: int, blocks: int, stride: int, affine: bool) -> nn.Module:
        first = PreActivationBlock(inputs, outputs, stride, affine)
        return nn.Sequential(first, *(PreActivationBlock(outputs, outputs, 1, affine) for _ in range(blocks - 1)))

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
    """A wide ResNet of `depth` = 6n + 4 layers, `width` times as wide as ResNet-20; `bias` is the classifier's."""
    refuse_depth("wide ResNet", depth, 6, 4)
    net = WideResNet((depth - 4) // 6, width, classes, channels, image_size, bias, affine)
    return initialise_(net, init, fan)


def wide_resnet_28_2(classes: int, channels: int, image_size: int, **options: Any) -> WideResNet:
    """WRN-28-2; 1,463,984 weights on CIFAR-10. Options as for `wide_resnet`."""
    return wide_resnet(28, 2, classes, channels, image_size, **options)


def wide_resnet_28_10(classes: int, channels: int, image_size: int, **options: Any) -> WideResNet:
    """WRN-28-10; 36.5 million weights on CIFAR-10. Options as for `wide_resnet`."""
    return wide_resnet(28, 10, classes, channels, image_size, **options)
