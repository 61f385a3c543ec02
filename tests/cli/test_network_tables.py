"""The tables of a network: counts agree with a slow count of every part, multiply-adds with the known networks."""

import pytest
import torch
from torch import nn

from lth.cli._network_tables import compute_table, masks_table, size_in_bytes, sparsity_table
from lth.networks import mlp, resnet20, resnet56
from lth.pruning import Masks
from lth.pruning.masks import fingerprint


class Small(nn.Module):
    """A convolution, a grouped one and a linear layer, on images of 2 x 4 x 4."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, stride=2, padding=1)
        self.grouped = nn.Conv2d(4, 6, 1, groups=2, bias=False)
        self.fc = nn.Linear(6 * 2 * 2, 5)

    def forward(self, x):
        return self.fc(self.grouped(self.conv(x)).flatten(1))


@pytest.fixture
def pruned() -> tuple[nn.Module, Masks]:
    """Random masks that empty a filter, a channel, some kernels, an in-feature and two out-features, and a stray 0."""
    torch.manual_seed(0)
    net, random = Small(), torch.Generator().manual_seed(1)
    masks = Masks.ones(net, exclude=["grouped"])
    for mask in masks.values():
        mask.copy_(torch.rand(mask.shape, generator=random) < 0.4)
    masks["conv.weight"][1] = 0
    masks["conv.weight"][2, 0] = 0
    masks["conv.weight"][3, :, 0, 0] = 1
    masks["fc.weight"][[0, 3]] = 0
    masks["fc.weight"][:, 7] = 0
    masks.apply_(net)
    with torch.no_grad():
        net.conv.weight[3, 0, 0, 0] = 0
    return net, masks


def empty(parts: list[torch.Tensor]) -> float:
    return 100 * sum(not part.any() for part in parts) / len(parts)


def test_counts_agree_with_a_count_of_every_part(pruned):
    net, masks = pruned
    conv, grouped, fc, total = sparsity_table(net, masks)
    mask, matrix = masks["conv.weight"].bool(), masks["fc.weight"].bool()
    assert conv["shape"] == "4x2x3x3"
    assert (conv["nnz_dense"], conv["nnz_sparse"]) == (72, sum(bool(v) for v in mask.flatten()))
    assert conv["3d"] == empty([mask[i] for i in range(4)]) >= 25
    assert conv["ch"] == empty([mask[:, j] for j in range(2)])
    assert conv["2d"] == empty([mask[i, j] for i in range(4) for j in range(2)]) >= 37.5
    assert conv["fine"] == empty(list(mask.flatten()))
    assert conv["cols"] is conv["rows"] is None
    assert fc["cols"] == fc["2d"] == empty(list(matrix)) >= 40
    assert fc["rows"] == empty(list(matrix.T)) > 0
    assert fc["ch"] is fc["3d"] is None
    assert (conv["stray_zeros"], grouped["stray_zeros"], fc["stray_zeros"]) == (1, 0, 0)
    assert grouped["nnz_sparse"] == grouped["nnz_dense"] == 12
    values = [float(v) for v in net.conv.weight.detach().flatten()]
    assert conv["mean"] == pytest.approx(sum(values) / 72, abs=1e-7)
    assert conv["abs_mean"] == pytest.approx(sum(map(abs, values)) / 72)
    assert conv["std"] == pytest.approx((sum((v - sum(values) / 72) ** 2 for v in values) / 71) ** 0.5)
    kept = conv["nnz_sparse"] + 12 + fc["nnz_sparse"]
    assert (total["nnz_dense"], total["nnz_sparse"], total["stray_zeros"]) == (72 + 12 + 120, kept, 1)
    assert total["fine"] == pytest.approx(100 * (204 - kept) / 204)


def test_a_whole_channel_counts_as_one(pruned):
    net, masks = pruned
    masks["conv.weight"][:, 1] = 0
    assert sparsity_table(net, masks)[0]["ch"] == 50


def test_the_table_of_masks_knows_no_weights(pruned):
    _, masks = pruned
    rows = masks_table(masks)
    assert [row["name"] for row in rows] == ["conv.weight", "fc.weight"]
    assert [row["kept"] for row in rows] == list(masks.kept_by_layer().values())
    assert all(row["kept"] + row["pruned"] == row["elements"] for row in rows)


def test_multiply_adds_are_output_positions_times_weights(pruned):
    net, masks = pruned
    conv, grouped, fc, total = compute_table(net, masks, (2, 4, 4))
    assert (conv["input"], conv["input_volume"], conv["output"], conv["output_volume"]) == ("2x4x4", 32, "4x2x2", 16)
    assert (fc["input"], fc["output"]) == ("24", "5")
    assert (conv["macs"], grouped["macs"], fc["macs"]) == (2 * 2 * 72, 2 * 2 * 6 * (4 // 2), 24 * 5)
    assert conv["macs_sparse"] == 4 * int(masks["conv.weight"].sum())
    assert grouped["macs_sparse"] == grouped["macs"]
    assert (conv["type"], conv["attributes"]) == ("Conv2d", "k=3 s=2 p=1")
    assert grouped["attributes"] == "k=1 g=2"
    assert (fc["type"], fc["attributes"]) == ("Linear", "")
    assert total["macs"] == conv["macs"] + grouped["macs"] + fc["macs"]
    assert total["macs_sparse"] == conv["macs_sparse"] + grouped["macs"] + fc["macs_sparse"]
    assert total["weight_volume"] == 204


@pytest.mark.parametrize(("build", "expected"), [(resnet20, 40_813_184), (resnet56, 125_747_840)])
def test_cifar_resnets_take_the_published_multiply_adds(build, expected):
    net = build(10, 3, 32)
    table = compute_table(net, {}, (3, 32, 32))
    assert table[-1]["macs"] == table[-1]["macs_sparse"] == expected


def test_looking_changes_nothing(pruned):
    net, masks = pruned
    net.train()
    before = fingerprint(net.state_dict()), masks.digest()
    sparsity_table(net, masks), compute_table(net, masks, (2, 4, 4)), size_in_bytes(net, masks)
    assert (fingerprint(net.state_dict()), masks.digest()) == before
    assert net.training


def test_zeros_make_the_packed_size_smaller_and_leave_the_dense_one_alone():
    net = mlp([16], 4, 1, 4)
    masks = Masks.ones(net)
    whole = size_in_bytes(net, masks)
    assert whole["dense_bytes"] == whole["packed_bytes"] == 4 * (16 * 16 + 16 + 16 * 4 + 4)
    masks["hidden.0.weight"].view(-1)[:100] = 0
    assert size_in_bytes(net, masks) == {
        "dense_bytes": whole["dense_bytes"],
        "packed_bytes": whole["dense_bytes"] - 400 + 256 // 8,
    }
