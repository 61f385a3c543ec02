"""Fully connected networks of any widths."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from lth.networks.init import initialise_


def batch_norm_1d(width: int, batch_norm: bool, affine: bool) -> nn.Module:
    """Batch norm over `width` features, or nothing."""
    return nn.BatchNorm1d(width, affine=affine) if batch_norm else nn.Identity()


class MLP(nn.Module):
    """Hidden layers of `widths` units with ReLU on the flattened image, then a linear classifier.

    Reads (batch, channels, image_size, image_size), gives (batch, classes) logits.
    """

    def __init__(
        self,
        widths: Sequence[int],
        classes: int,
        channels: int,
        image_size: int,
        batch_norm: bool = False,
        bias: bool = True,
        affine: bool = True,
    ) -> None:
        super().__init__()
        if not widths or min(widths) < 1:
            raise ValueError(f"widths={list(widths)} is no network; valid: positive widths, e.g. [300, 100]")
        sizes = [channels * image_size**2, *widths]
        self.hidden = nn.ModuleList(
            nn.Linear(inputs, outputs, bias=bias and not batch_norm)
            for inputs, outputs in zip(sizes[:-1], widths, strict=True)
        )
        self.norms = nn.ModuleList(batch_norm_1d(width, batch_norm, affine) for width in widths)
        self.classifier = nn.Linear(sizes[-1], classes, bias=bias)

    def forward(self, images: Tensor) -> Tensor:
        x = images.flatten(1)
        for linear, norm in zip(self.hidden, self.norms, strict=True):
            x = F.relu(norm(linear(x)))
        return self.classifier(x)


def mlp(
    widths: Sequence[int],
    classes: int,
    channels: int,
    image_size: int,
    batch_norm: bool = False,
    bias: bool = True,
    affine: bool = True,
    init: str = "kaiming_normal",
) -> MLP:
    """An `MLP` whose weights are drawn by `init`. Raises `ValueError` for empty or non-positive `widths`."""
    return initialise_(MLP(widths, classes, channels, image_size, batch_norm, bias, affine), init)
