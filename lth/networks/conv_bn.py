"""The unit most networks repeat: a convolution and its batch norm."""

from torch import Tensor, nn
from torch.nn import functional as F


class ConvBN(nn.Module):
    """A `size` x `size` convolution that keeps the image's size (over `stride`), batch norm and, if `active`, ReLU.

    The convolution has no bias: the batch norm would subtract it.
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
