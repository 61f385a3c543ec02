"""The layer table counts what a slow loop over output positions counts, and leaves the network as it was."""

import pytest
import torch
from torch import nn

from lth.analysis.layers import layer_table
from lth.networks import lenet_300_100, resnet20
from lth.pruning import Masks
from lth.pruning.masks import fingerprint


def starts(size, kernel, stride, padding, dilation):
    """Where a kernel can be put along one side."""
    return len(range(0, size + 2 * padding - dilation * (kernel - 1), stride))


def macs_by_loop(conv, height, width):
    """Multiply-adds of one convolution, one output channel, position and kernel element at a time."""
    count, sides = 0, []
    for side, i in ((height, 0), (width, 1)):
        sides.append(starts(side, conv.kernel_size[i], conv.stride[i], conv.padding[i], conv.dilation[i]))
    for _ in range(conv.out_channels):
        for _ in range(sides[0] * sides[1]):
            for _ in range(conv.in_channels // conv.groups):
                count += conv.kernel_size[0] * conv.kernel_size[1]
    return count, sides


class Convolutions(nn.Module):
    """Strides, groups, dilation, padding and a kernel that is not square; then a linear layer."""

    def __init__(self):
        super().__init__()
        self.plain = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.grouped = nn.Conv2d(4, 8, 3, groups=2, dilation=2, padding=2)
        self.narrow = nn.Conv2d(8, 6, (1, 3), stride=(1, 2), bias=False)
        self.depthwise = nn.Conv2d(6, 6, 2, groups=6)
        self.bn = nn.BatchNorm2d(6)
        self.drop = nn.Dropout(0.5)
        self.fc = nn.LazyLinear(5)

    def forward(self, x):
        x = self.depthwise(self.narrow(self.grouped(self.plain(x))))
        return self.fc(self.drop(self.bn(x)).flatten(1))


def convolutions():
    torch.manual_seed(0)
    net = Convolutions()
    net(torch.rand(2, 3, 11, 14))
    return net


def by_name(rows):
    return {row["layer"]: row for row in rows}


def test_multiply_adds_equal_a_loop_over_all_of_them():
    net = convolutions()
    rows = by_name(layer_table(net, Masks.ones(net), (3, 11, 14)))
    height, width = 11, 14
    for name in ("plain", "grouped", "narrow", "depthwise"):
        macs, (height, width) = macs_by_loop(getattr(net, name), height, width)
        assert rows[f"{name}.weight"]["macs"] == macs
    assert rows["fc.weight"]["macs"] == 6 * height * width * 5


def test_rows_say_shape_total_kept_and_density():
    net = convolutions()
    masks = Masks.ones(net, exclude=["fc"])
    masks["grouped.weight"][:4] = 0
    masks["grouped.weight"][4, 0, 0, 0] = 0
    rows = layer_table(net, masks, (3, 11, 14))
    assert [row["layer"] for row in rows] == list(masks)
    row = by_name(rows)["grouped.weight"]
    assert (row["shape"], row["total"], row["kept"], row["density"]) == ("8x2x3x3", 144, 71, 71 / 144)
    assert row["macs_kept"] == 71 * (row["macs"] // 144)
    assert by_name(rows)["plain.weight"]["macs_kept"] == by_name(rows)["plain.weight"]["macs"]


@pytest.mark.parametrize(("shortcut", "macs"), [("conv", 40_813_184), ("pad", 40_551_040)])
def test_resnet20_has_the_published_multiply_adds(shortcut, macs):
    """40,813,184 with 1x1 convolutions as shortcuts, which take 262,144 of them; zero-padded shortcuts take none."""
    net = resnet20(10, 3, 32, shortcut=shortcut)
    assert sum(row["macs"] for row in layer_table(net, Masks.ones(net), (3, 32, 32))) == macs


def test_linear_networks_use_each_weight_once():
    net = lenet_300_100(10, 1, 28)
    rows = layer_table(net, Masks.ones(net), (1, 28, 28))
    assert [row["macs"] for row in rows] == [row["total"] for row in rows] == [235_200, 30_000, 1_000]


def test_a_layer_used_twice_and_a_weight_shared_by_two_layers_count_twice():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.other, self.unused = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 6)
            self.other.weight = self.one.weight
            self.again = nn.Linear(6, 6)

        def forward(self, x):
            return self.again(self.again(self.other(self.one(x.flatten(1)))))

    net = Shared()
    rows = by_name(layer_table(net, Masks.ones(net), (1, 2, 3)))
    assert {name: row["macs"] for name, row in rows.items()} == {
        "one.weight": 72,
        "unused.weight": 0,
        "again.weight": 72,
    }


def test_attention_uses_its_weights_at_every_token():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Conv2d(3, 8, 2, stride=2)
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
            self.mlp = nn.Linear(8, 4)

        def forward(self, x):
            tokens = self.embed(x).flatten(2).transpose(1, 2)
            return self.mlp(self.attention(tokens, tokens, tokens, need_weights=False)[0])

    net = Attention()
    rows = by_name(layer_table(net, Masks.ones(net), (3, 6, 6)))
    assert {name: row["macs"] for name, row in rows.items()} == {
        "embed.weight": 9 * 8 * 12,
        "attention.in_proj_weight": 9 * 24 * 8,
        "attention.out_proj.weight": 9 * 8 * 8,
        "mlp.weight": 9 * 8 * 4,
    }


def test_a_network_with_batch_norm_in_training_mode_is_counted():
    """Batch norm in training mode raises an error for a batch of one image."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.BatchNorm1d(5)).train()
    assert layer_table(net, Masks.ones(net), (3, 2, 2))[0]["macs"] == 60


def test_a_compiled_network_is_counted_like_the_plain_one(monkeypatch):
    """Compiled code calls no hooks: counted through it, every layer would be reported as unused."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 5))
    monkeypatch.setattr(net, "_compiled_call_impl", lambda x: x)
    assert layer_table(net, Masks.ones(net), (3, 2, 2))[0]["macs"] == 60


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_network_is_left_untouched(dtype):
    net = convolutions().to(dtype).train()
    net.bn.eval()
    net.fc.weight.grad = torch.ones_like(net.fc.weight)
    before, modes = fingerprint(net.state_dict()), [m.training for m in net.modules()]
    state = torch.random.get_rng_state()
    layer_table(net, Masks.ones(net), (3, 11, 14))
    assert fingerprint(net.state_dict()) == before
    assert [m.training for m in net.modules()] == modes
    assert torch.equal(torch.random.get_rng_state(), state)
    assert (net.fc.weight.grad == 1).all()
    assert not any(m._forward_hooks for m in net.modules())


def test_a_network_that_refuses_the_image_keeps_no_hook():
    net = convolutions()
    with pytest.raises(RuntimeError):
        layer_table(net, Masks.ones(net), (3, 8, 8))
    assert not any(m._forward_hooks for m in net.modules())
    assert net.training
