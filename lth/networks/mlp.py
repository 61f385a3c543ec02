"""Fully connected networks."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from lth.networks._init import initialise_


def _batch_norm_1d(width: int, batch_norm: bool, affine: bool) -> nn.Module:
    """Batch norm over `width` features, or the identity."""
    return nn.BatchNorm1d(width, affine=affine) if batch_norm else nn.Identity()


class MLP(nn.Module):
    """Hidden layers with ReLU on the flattened image, then a linear classifier.

    Maps (batch, channels, image_size, image_size) to (batch, classes) logits. The arguments are those of `mlp`.
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
        relu_first: bool = False,
    ) -> None:
        super().__init__()
        if not widths or min(widths) < 1:
            raise ValueError(f"widths={list(widths)} makes no network; valid: positive widths, e.g. [300, 100]")
        if relu_first and not batch_norm:
            raise ValueError("relu_first=True needs batch norm, but batch_norm=False; valid: batch_norm=True")
        sizes = [channels * image_size**2, *widths]
        self.hidden = nn.ModuleList(
            nn.Linear(inputs, outputs, bias=bias and (relu_first or not batch_norm))
            for inputs, outputs in zip(sizes[:-1], widths, strict=True)
        )
        self.norms = nn.ModuleList(_batch_norm_1d(width, batch_norm, affine) for width in widths)
        self.classifier = nn.Linear(sizes[-1], classes, bias=bias)
        self.relu_first = relu_first

    def forward(self, images: Tensor) -> Tensor:
        x = images.flatten(1)
        for linear, norm in zip(self.hidden, self.norms, strict=True):
            x = norm(F.relu(linear(x))) if self.relu_first else F.relu(norm(linear(x)))
        return self.classifier(x)


def mlp(
    widths: Sequence[int],
    classes: int,
    channels: int,
    image_size: int,
    batch_norm: bool = False,
    bias: bool = True,
    affine: bool = True,
    relu_first: bool = False,
    init: str = "kaiming_normal",
) -> MLP:
    """An `MLP` with initialised weights.

    widths: units of the hidden layers
    batch_norm: in every hidden layer, before ReLU; such layers have no bias
    bias: whether layers without batch norm have a bias
    affine: whether batch norm has weight and bias
    relu_first: batch norm after ReLU; such layers keep their bias
    init: see `initialise_`

    Raises ValueError for empty or non-positive widths.
    """
    return initialise_(MLP(widths, classes, channels, image_size, batch_norm, bias, affine, relu_first), init)
