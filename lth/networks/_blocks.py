"""Blocks that several networks are built of (residual ones: He et al. 2016, arXiv 1512.03385)."""

from torch import Tensor, nn
from torch.nn import functional as F

from lth.networks._refuse import refuse_unknown

SHORTCUTS = ("conv", "pad")
STEMS = ("auto", "cifar", "imagenet")
LARGEST_SMALL_IMAGE = 64  # pixels; Tiny-ImageNet is trained with the stem for CIFAR


class ConvBN(nn.Module):
    """A padded convolution without bias, then batch norm and optionally ReLU.

    inputs, outputs: channels
    size: height and width of the kernel in pixels
    active: whether ReLU follows
    affine: whether batch norm has weight and bias
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: int = 3,
        stride: int = 1,
        groups: int = 1,
        active: bool = True,
        affine: bool = True,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(outputs, affine=affine)
        self.active = active

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(self.conv(x))
        return F.relu(x) if self.active else x


def batch_norm_2d(width: int, batch_norm: bool, affine: bool) -> nn.Module:
    """Batch norm over `width` channels, or the identity."""
    return nn.BatchNorm2d(width, affine=affine) if batch_norm else nn.Identity()


def is_imagenet_stem(stem: str, image_size: int) -> bool:
    """Whether to use the stem for large images, which has strides. Raises ValueError for an unknown name.

    stem: auto, cifar or imagenet; auto is imagenet above 64 pixels
    """
    refuse_unknown("stem", stem, STEMS)
    return stem == "imagenet" or (stem == "auto" and image_size > LARGEST_SMALL_IMAGE)


class PadShortcut(nn.Module):
    """Shortcut without weights (option A of the paper): every `stride`-th pixel, zeros in the added channels."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.before = (outputs - inputs) // 2
        self.after = outputs - inputs - self.before

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.before, self.after))


def make_shortcut(kind: str, inputs: int, outputs: int, stride: int, affine: bool) -> nn.Module:
    """The identity if shapes agree, else what `kind` names. Raises ValueError for an unknown kind.

    kind: conv (1x1 convolution and batch norm) or pad (`PadShortcut`)
    """
    refuse_unknown("shortcut", kind, SHORTCUTS)
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    if kind == "pad":
        return PadShortcut(inputs, outputs, stride)
    return ConvBN(inputs, outputs, 1, stride, active=False, affine=affine)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

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
    """1x1, 3x3 (with the stride) and 1x1 convolutions and a shortcut; 4 * `width` output channels."""

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
