"""Which layers are coupled, what is attached to them, and that thinned networks compute the same."""

import copy
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lth.analysis.layers import uses_per_image
from lth.networks import conv2, mobilenet_v2, resnet20, wide_resnet_28_2
from lth.pruning import Masks
from lth.pruning.structured.attached import Attached
from lth.pruning.structured.coupling import coupled_layers
from lth.pruning.structured.schedule_rule import ScheduleRule
from lth.pruning.structured.thin import _output_difference, _select, cut_, thin

SHAPE = 3, 8, 8
STREAMS = [("conv1", "layer1.0.conv2", "layer1.1.conv2", "layer1.2.conv2")] + [
    (f"layer{n}.0.conv2", f"layer{n}.0.shortcut.conv", f"layer{n}.1.conv2", f"layer{n}.2.conv2") for n in (2, 3)
]


def trained_like(net):
    """Batch norms as training leaves them: no scale is 1, no shift and no mean 0."""
    random = torch.Generator().manual_seed(1)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean):
                tensor.data.copy_(torch.randn(tensor.shape, generator=random))
            module.running_var.copy_(torch.rand(module.running_var.shape, generator=random) + 0.3)
    return net.eval()


def pruned(net, density=0.5, shape=SHAPE):
    """Masks without the lowest outputs of everything but the head; the network under them."""
    masks = Masks.ones(net)
    rule = ScheduleRule.of(names=["*"], exclude=["@head"], unit="outputs", end=density, at=[0], coupled="complete")
    groups = rule.selection.groups(masks, coupled_layers(net, shape))
    prune_(rule, net, masks, groups)
    masks.apply_(net)
    zero_attached_(net, masks, shape)
    return masks, groups


def prune_(rule, net, masks, groups):
    """Masks as the last firing of the rule leaves them."""
    scores = rule.ranking.scores(net, masks, groups, None, 0)
    masks.copy_(rule.removal.prune(masks, groups, scores, 1.0, [0] * len(groups)))


def zero_attached_(net, masks, shape=SHAPE):
    goes = Attached.find(net, masks, shape)
    goes.update_(masks)
    for name, parameter in goes.parameters.items():
        parameter.data.mul_(goes.masks[name])


@pytest.mark.slow
def test_a_resnet_joins_the_writers_of_each_stream_and_nothing_else():
    net = resnet20(10, 3, 8)
    sets = coupled_layers(net, SHAPE)
    names = [tuple(w.removesuffix(".weight") for w in own.producers) for own in sets]
    assert {frozenset(n) for n in names if len(n) > 1} == {frozenset(stream) for stream in STREAMS}
    assert sum(map(len, names)) == 22
    last = next(own for own in sets if "layer3.2.conv2.weight" in own.producers)
    assert {name for name, _ in last.consumers} == {
        "layer3.1.conv1.weight",
        "layer3.2.conv1.weight",
        "classifier.weight",
    }
    assert ("layer3.2.bn2.running_var", 0) in last.slices


@pytest.mark.slow
def test_depthwise_layers_go_with_the_layer_they_read():
    sets = {frozenset(own.producers): own for own in coupled_layers(mobilenet_v2(10, 3, 8), (3, 8, 8))}
    assert frozenset({"blocks.1.expand.conv.weight", "blocks.1.depthwise.conv.weight"}) in sets


class Joined(nn.Module):
    """Two layers side by side, summed with a third; a reader behind a flatten."""

    def __init__(self, groups=1):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 6, 1), nn.Conv2d(3, 10, 1)
        self.d = nn.Conv2d(10, 8, 3, padding=1, groups=groups)
        self.end = nn.Linear(8 * 16, 5)

    def forward(self, x):
        x = F.relu(torch.cat([self.b(x), self.a(x)], 1) + self.c(x))
        return self.end(F.relu(self.d(x)).flatten(1))


def test_concatenation_gives_each_layer_its_place_in_the_set():
    own = next(own for own in coupled_layers(Joined(), (3, 4, 4)) if "c.weight" in own.producers)
    assert set(own.producers) == {"a.weight", "b.weight", "c.weight"}
    assert own.n_units == 10
    c = own.slices["c.weight", 0].tolist()
    assert [own.slices["a.weight", 0].tolist(), own.slices["b.weight", 0].tolist()] == [c[6:], c[:6]]
    assert own.slices["d.weight", 1].tolist() == c


def test_a_flatten_gives_a_unit_a_block_of_inputs():
    own = next(own for own in coupled_layers(Joined(), (3, 4, 4)) if own.producers == ("d.weight",))
    assert own.slices["end.weight", 1].tolist() == [i // 16 for i in range(128)]


def test_padded_channels_cannot_be_followed():
    with pytest.raises(ValueError, match="cannot be followed"):
        coupled_layers(resnet20(10, 3, 8, shortcut="pad"), SHAPE)


def test_without_torch_pruning_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_pruning", None)
    with pytest.raises(ImportError, match=r"lth\[structured\]"):
        coupled_layers(conv2(10, 3, 8), SHAPE)


def test_part_of_a_set_is_an_error_or_completed_or_left():
    net = resnet20(10, 3, 8)
    masks, sets = Masks.ones(net), coupled_layers(net, SHAPE)
    part = {"names": ["layer2.0.conv2"], "unit": "filters", "end": 0.5, "at": [0]}
    with pytest.raises(ValueError, match=r"share their outputs with \['layer2.0.shortcut.conv.weight'"):
        ScheduleRule.of(**part).selection.groups(masks, sets)
    (group,) = ScheduleRule.of(**part, coupled="complete").selection.groups(masks, sets)
    assert len(group.ranked) == 4
    (group,) = ScheduleRule.of(**part, coupled="ignore").selection.groups(masks, sets)
    assert list(group.ranked) == ["layer2.0.conv2.weight"]
    with pytest.raises(ValueError, match="are the network's own"):
        ScheduleRule.of(names=["@head"], unit="out_features", end=0.5, at=[0]).selection.groups(masks, sets)


@pytest.mark.parametrize("leader", [False, True])
def test_a_coupled_set_gets_equal_masks_and_its_readers_lose_the_inputs(leader):
    net = trained_like(resnet20(10, 3, 8))
    masks, sets = Masks.ones(net), coupled_layers(net, SHAPE)
    rule = ScheduleRule.of(**{"leader" if leader else "names": STREAMS[1]}, unit="filters", end=0.6, at=[0])
    groups = rule.selection.groups(masks, sets)
    prune_(rule, net, masks, groups)
    gone = [(masks[f"{name}.weight"].flatten(1).sum(1) == 0).tolist() for name in STREAMS[1]]
    assert all(g == gone[0] for g in gone)
    assert sum(gone[0]) == int(0.4 * 32)
    if leader:
        size = net.layer2[0].conv2.weight.abs().sum((1, 2, 3))
        assert {i for i, g in enumerate(gone[0]) if g} == set(size.argsort()[:12].tolist())
    assert (masks["layer3.0.conv1.weight"].sum((0, 2, 3)) == 0).tolist() == gone[0]


NETS = {
    "resnet20": (lambda: resnet20(10, 3, 8), SHAPE),
    "wide_resnet": (lambda: wide_resnet_28_2(10, 3, 8), SHAPE),
    "mobilenet_v2": (lambda: mobilenet_v2(10, 3, 8), SHAPE),
    "conv2": (lambda: conv2(10, 3, 8), SHAPE),
    "concatenation": (Joined, (3, 4, 4)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NETS)
def test_a_thinned_network_computes_what_the_masked_one_does(name):
    make, shape = NETS[name]
    torch.manual_seed(0)
    net = trained_like(make())
    dense = sum(p.numel() for p in net.parameters())
    masks, _ = pruned(net, shape=shape)
    small = thin(net, masks, shape)
    assert small.difference <= 1e-5
    assert _output_difference(net, small.net, shape) <= 1e-5
    assert all(bool(mask.all()) for mask in small.masks.values())  # nothing but whole units had gone
    assert sum(mask.numel() for mask in small.masks.values()) == masks.kept
    assert sum(p.numel() for p in small.net.parameters()) < 0.45 * dense
    assert sum(p.numel() for p in net.parameters()) == dense


@pytest.mark.slow
def test_a_filter_of_zeros_alone_would_leave_batch_norms_shift():
    net = trained_like(resnet20(10, 3, 8))
    masks = Masks.ones(net)
    masks["layer1.0.conv1.weight"][:8] = 0
    with pytest.raises(ValueError, match=r"outputs differ by .*method.whole_units=true"):
        thin(net, masks, SHAPE)


@pytest.mark.slow
def test_only_units_that_every_member_of_a_sum_removed_are_cut():
    net = trained_like(resnet20(10, 3, 8))
    masks = Masks.ones(net)
    for i, name in enumerate(STREAMS[1]):
        masks[f"{name}.weight"][: 10 + i] = 0
    zero_attached_(net, masks)
    small = thin(net, masks, SHAPE)
    assert small.net.layer2[0].conv2.weight.shape[0] == 22
    assert small.net.layer2[2].bn2.running_mean.shape == (22,)
    assert small.net.layer3[0].conv1.in_channels == 22


def test_units_that_nobody_reads_are_cut_too():
    net = trained_like(resnet20(10, 3, 8))
    masks = Masks.ones(net)
    masks["layer1.0.conv2.weight"][:, :5] = 0
    small = thin(net, masks, SHAPE)
    assert small.net.layer1[0].conv1.weight.shape[0] == 11
    assert small.net.layer1[0].conv2.weight.shape == (16, 11, 3, 3)


def test_of_grouped_convolutions_only_whole_groups_go():
    torch.manual_seed(0)
    net = Joined(groups=2).eval()
    masks = Masks.ones(net)
    own = next(own for own in coupled_layers(net, (3, 4, 4)) if "c.weight" in own.producers)
    for name in own.producers:
        masks[name][torch.isin(own.slices[name, 0], own.slices["c.weight", 0][:5])] = 0
    with pytest.raises(ValueError, match="d has 2 groups and would lose part of one"):
        thin(net, masks, (3, 4, 4))
    masks["d.weight"][:4] = 0
    zero_attached_(net, masks, (3, 4, 4))
    small = thin(net, masks, (3, 4, 4))
    assert (small.net.d.groups, small.net.d.in_channels, small.net.d.out_channels) == (1, 5, 4)
    assert small.net.end.in_features == 64


def test_a_network_that_would_be_cut_through_is_refused():
    net = resnet20(10, 3, 8)
    masks = Masks.ones(net)
    masks["layer1.0.conv1.weight"].zero_()
    with pytest.raises(ValueError, match="nothing would be left"):
        thin(net, masks, SHAPE)


@pytest.mark.slow
def test_indices_repeat_the_cut_and_mark_the_kept_weights():
    net = trained_like(resnet20(10, 3, 8))
    masks, _ = pruned(net)
    small = thin(net, masks, SHAPE)
    again = copy.deepcopy(net)
    cut_(again, small.kept)
    assert _output_difference(small.net, again, SHAPE) == 0
    for name, weight in net.state_dict().items():
        left = _select(weight, small.kept.get(name, {}))
        assert torch.equal(left, small.net.state_dict()[name])
        if name in masks:
            positions = torch.arange(weight.numel()).view(weight.shape)
            assert torch.equal(
                _select(positions, small.kept.get(name, {})).flatten(), masks[name].flatten().nonzero()[:, 0]
            )


def test_attached_parameters_follow_the_weights_that_feed_them():
    net = wide_resnet_28_2(10, 3, 8)
    masks = Masks.ones(net)
    goes = Attached.find(net, masks, SHAPE)
    assert goes.producers["layer1.1.bn1.weight"] == ("layer1.0.conv2.weight", "layer1.0.shortcut.weight")
    assert "classifier.bias" not in goes.masks
    masks["layer1.0.conv2.weight"][3] = 0
    goes.update_(masks)
    assert goes.masks["layer1.1.bn1.bias"][3] == 1  # the shortcut still feeds it
    masks["layer1.0.shortcut.weight"][3] = 0
    goes.update_(masks)
    assert goes.masks["layer1.1.bn1.bias"].nonzero().flatten().tolist() == [0, 1, 2, *range(4, 32)]


@pytest.mark.slow
def test_multiply_adds_and_filter_counts_agree_with_brute_force():
    net = resnet20(10, 3, 32)
    named = dict(net.named_parameters())
    assert sum(named[n].numel() * times for n, times in uses_per_image(net, (3, 32, 32)).items()) == 40_813_184
    masks, groups = pruned(net, 0.7, shape=(3, 32, 32))
    for group in groups:
        for name in group.ranked:
            empty = [i for i in range(len(masks[name])) if not masks[name][i].any()]
            assert len(empty) == int(0.3 * len(masks[name]) + 1e-9)
            assert group.removed(masks).nonzero().flatten().tolist() == empty
