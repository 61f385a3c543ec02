"""Residual blocks and their shortcuts (He et al. 2016, arXiv 1512.03385)."""

from torch import Tensor, nn
from torch.nn import functional as F

from lth.networks.conv_bn import ConvBN
from lth.networks.refuse import refuse_unknown

SHORTCUTS = ("conv", "pad")


class PadShortcut(nn.Module):
    """Option A, without weights: every `stride`-th pixel, and zeros for the channels that are new."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.before = (outputs - inputs) // 2
        self.after = outputs - inputs - self.before

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.before, self.after))


def make_shortcut(kind: str, inputs: int, outputs: int, stride: int, affine: bool) -> nn.Module:
    """The identity where shapes agree; else a 1x1 convolution with batch norm (`conv`) or zero padding (`pad`)."""
    refuse_unknown("shortcut", kind, SHORTCUTS)
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    if kind == "pad":
        return PadShortcut(inputs, outputs, stride)
    return ConvBN(inputs, outputs, 1, stride, active=False, affine=affine)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int, shortcut: str, affine: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width, affine=affine)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width, affine=affine)
        self.shortcut = make_shortcut(shortcut, inputs, width, stride, affine)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions around a shortcut, four times `width` channels out; the 3x3 holds the stride."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int, shortcut: str, affine: bool) -> None:
        super().__init__()
        outputs = width * self.expansion
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width, affine=affine)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width, affine=affine)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs, affine=affine)
        self.shortcut = make_shortcut(shortcut, inputs, outputs, stride, affine)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.relu(self.bn2(self.conv2(out)))
        return F.relu(self.bn3(self.conv3(out)) + self.shortcut(x))
