"""Own parts for `lth run`: a network, a dataset and a criterion."""

from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from lth.datamodules import Arrays


class TwoPaths(nn.Module):
    """A perceptron whose input also goes to the output, past the hidden layer.

    classes: number of outputs
    channels, image_size: of the images
    width: units of the hidden layer
    """

    def __init__(self, classes: int, channels: int, image_size: int, width: int):
        super().__init__()
        pixels = channels * image_size**2
        self.hidden = nn.Linear(pixels, width)
        self.deep, self.shallow = nn.Linear(width, classes), nn.Linear(pixels, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        return self.deep(torch.relu(self.hidden(x))) + self.shallow(x)


class DarkDigits(Arrays):
    """scikit-learn's digits with the strokes at `light` of their brightness.

    light: factor on the pixels, 0..1
    options: sizes, validation split and batches, which `Arrays` handles
    """

    def __init__(self, *, light: float, **options: Any):
        super().__init__(**options)
        self.light = light

    def read(self, root: str | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Training images and labels, test images and labels: (N, C, H, W) and (N,). `root` is dataset.root, unused."""
        digits = load_digits()
        images = torch.tensor(digits.images * 15 * self.light, dtype=torch.uint8)[:, None]  # 0..240
        labels = torch.tensor(digits.target)
        return images[:1497], labels[:1497], images[1497:], labels[1497:]


def relative_magnitude(net: nn.Module, masks: Any, batches: Any = None) -> dict[str, Tensor]:
    """Each weight's absolute value over the mean of its layer, so that no layer is pruned away first."""
    weights = dict(net.named_parameters())
    return {name: weights[name].detach().abs() / weights[name].detach().abs().mean() for name in masks}
