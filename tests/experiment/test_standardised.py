"""Weights that a network standardises in its forward pass are found: a pruned weight would not act as zero there."""

import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d

from lth.experiment._standardised import standardised
from lth.pruning import Masks

IMAGE = 3, 8, 8


class Standardised(nn.Conv2d):
    def forward(self, x):
        mean, std = self.weight.mean((1, 2, 3), keepdim=True), self.weight.std((1, 2, 3), keepdim=True)
        return conv2d(x, (self.weight - mean) / std, self.bias, padding=self.padding)


def changed(*layers: nn.Module) -> list[str]:
    net = nn.Sequential(*layers)
    return standardised(net, Masks.ones(net), IMAGE)


def test_only_the_standardised_layer_is_named():
    assert changed(nn.Conv2d(3, 4, 3), Standardised(4, 4, 3), nn.Flatten(), nn.Linear(64, 2)) == ["1.weight"]


@pytest.mark.parametrize("options", [{"groups": 3}, {"dilation": 2}, {"bias": False}, {"padding_mode": "circular"}])
def test_ordinary_convolutions_use_their_weights_as_they_are(options: dict):
    assert changed(nn.Conv2d(3, 6, 3, padding=1, **options)) == []


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("sizes", [{}, {"kdim": 6, "vdim": 6}])
def test_attention_uses_its_projections_as_they_are(batch_first: bool, sizes: dict):
    class Attends(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=batch_first, **sizes)

        def forward(self, x):
            keys = x[:, 0, :, : sizes.get("kdim", 8)]
            return self.attention(x[:, 0], keys, keys, need_weights=False)[0]

    assert changed(Attends()) == []


def test_a_weight_that_nothing_reads_is_not_called_changed():
    class Idle(nn.Linear):
        def forward(self, x):
            return x

    assert changed(nn.Conv2d(3, 4, 3), Idle(4, 4)) == []


def test_the_network_is_left_as_it_was():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    standardised(net, Masks.ones(net), IMAGE)
    assert net.training
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


def test_an_image_that_the_network_cannot_take_is_an_error_that_names_its_shape():
    net = nn.Sequential(nn.Flatten(), nn.Linear(7, 2))
    with pytest.raises(ValueError, match=r"Sequential cannot take an image of shape \(1, 2, 2\): .*mat1 and mat2"):
        standardised(net, Masks.ones(net), (1, 2, 2))
