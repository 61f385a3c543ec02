"""Rankers against their formulas, written out; ranking does not change the network."""

import copy
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lth.networks import mobilenet_v2, resnet20
from lth.pruning import Masks
from lth.pruning.criterion import Batches
from lth.pruning.masks import fingerprint
from lth.pruning.structured import units
from lth.pruning.structured._dataflow import trace, zero_image
from lth.pruning.structured._rankers import _ranker_names
from lth.pruning.structured._rankers.apoz import apoz
from lth.pruning.structured._rankers.gradient import gradient
from lth.pruning.structured._rankers.l1 import l1
from lth.pruning.structured._rankers.l2 import l2
from lth.pruning.structured._rankers.mean_activation import mean_activation
from lth.pruning.structured._rankers.random import random
from lth.pruning.structured._unit_selection import single_group
from lth.pruning.structured.schedule_rule import ScheduleRule


class Net(nn.Module):
    """A convolution without activation module, a functional ReLU, names that say nothing."""

    def __init__(self):
        super().__init__()
        self.zig = nn.Conv2d(2, 6, 3, padding=1, bias=False)
        self.zag = nn.BatchNorm2d(6)
        self.end = nn.Linear(6, 3)

    def forward(self, x):
        return self.end(F.relu(self.zag(self.zig(x))).mean((2, 3)))


class Images(Batches):
    classes, image_shape = 3, (2, 5, 5)

    def draw(self, n):
        random = torch.Generator().manual_seed(0)
        for _ in range(n):
            yield torch.randn(8, 2, 5, 5, generator=random), torch.randint(3, (8,), generator=random)


@pytest.fixture
def net():
    torch.manual_seed(0)
    net = Net()
    with torch.no_grad():
        for tensor in (*net.zag.parameters(), net.zag.running_mean):
            tensor.copy_(torch.randn(6))
        net.zag.running_var.copy_(torch.rand(6) + 0.2)
    return net


def ranked(ranker, net, division=units.filters, name="zig.weight"):
    masks = Masks.ones(net)
    numbers = {name: division(masks[name].shape)}
    return ranker(net, masks, numbers, Images(), 0)[name]


def test_norms_are_over_the_number_of_elements(net):
    w = net.zig.weight.detach().double()
    assert torch.allclose(ranked(l1, net), w.abs().mean((1, 2, 3)))
    assert torch.allclose(ranked(l2, net), w.flatten(1).norm(dim=1) / 18)
    assert torch.allclose(ranked(l1, net, units.kernels), w.abs().mean((2, 3)).flatten())
    assert torch.allclose(ranked(l2, net, units.in_features, "end.weight"), net.end.weight.double().norm(dim=0) / 3)


def test_gradient_is_the_sum_of_gradient_times_weight(net):
    net.eval()
    for x, y in Images().draw(3):
        (F.cross_entropy(net(x), y) / 3).backward()
    expected = (net.zig.weight.grad * net.zig.weight.detach()).double().sum((1, 2, 3))
    net.zig.weight.grad = None
    assert torch.allclose(ranked(partial(gradient, n_batches=3), net), expected.abs(), atol=1e-7)
    assert torch.allclose(ranked(partial(gradient, n_batches=3, signed=True), net), expected, atol=1e-7)


def test_activations_are_those_after_the_function_that_reads_the_layer(net):
    net.eval()
    x = torch.cat([x for x, _ in Images().draw(10)])
    outputs = F.relu(net.zag(net.zig(x))).double()
    assert torch.allclose(ranked(mean_activation, net), outputs.mean((0, 2, 3)))
    assert torch.allclose(ranked(apoz, net), -(outputs == 0).double().mean((0, 2, 3)))


def test_the_weakest_and_the_most_silent_filters_go_first(net):
    with torch.no_grad():
        net.zag.weight.fill_(1.0)
        net.zag.bias.copy_(torch.tensor([5.0, 4.0, -5.0, 3.0, 2.0, -4.0]))
    for ranker in (apoz, mean_activation):
        assert set(ranked(ranker, net).argsort()[:2].tolist()) == {2, 5}


def test_folding_ranks_what_batch_norm_makes_of_the_weights(net):
    factor = net.zag.weight / (net.zag.running_var + net.zag.eps).sqrt()
    expected = (net.zig.weight * factor.view(-1, 1, 1, 1)).detach().double().abs().mean((1, 2, 3))
    masks = Masks.ones(net)
    rule = ScheduleRule.of(names=["zig"], unit="filters", bn_fold=True, end=0.5, at=[0], coupled="ignore")
    (scores,) = rule.ranking.scores(net, masks, rule.selection.groups(masks), Images(), 0)
    assert torch.allclose(scores, expected, rtol=1e-5)
    head = single_group("end.weight", masks["end.weight"].shape, units.out_features)
    with pytest.raises(ValueError, match=r"no batch norm of their own follows \['end.weight'\]"):
        rule.ranking.scores(net, masks, [head], Images(), 0)


def test_l1_l2_and_random_rank_a_layer_differently(net):
    with torch.no_grad():
        net.zig.weight.zero_()
        net.zig.weight[:, 0].copy_(torch.tensor([1.0, 2, 3, 4, 5, 6]).view(6, 1, 1) / 10)
        net.zig.weight[0, 0, 0, 0] = 3.0
    orders = [ranked(ranker, net).argsort().tolist() for ranker in (l1, l2, random)]
    assert len({tuple(order) for order in orders}) == 3
    assert torch.equal(ranked(random, net), ranked(random, net))


@pytest.mark.parametrize("name", _ranker_names())
def test_ranking_leaves_no_trace(name, net):
    masks = Masks.ones(net)
    rule = ScheduleRule.of(names=["zig"], unit="filters", ranker=name, bn_fold=name in ("l1", "l2"), end=0.5, at=[0],
                coupled="ignore")  # fmt: skip
    net.train()
    net.zig.weight.grad = torch.ones_like(net.zig.weight)
    before, drawn = copy.deepcopy(net.state_dict()), torch.random.get_rng_state()
    rule.ranking.scores(net, masks, rule.selection.groups(masks), Images(), 0)
    assert fingerprint(net.state_dict()) == fingerprint(before)
    assert net.training
    assert bool((net.zig.weight.grad == 1).all())
    assert torch.equal(torch.random.get_rng_state(), drawn)


def test_activations_refuse_what_they_cannot_rank(net):
    with pytest.raises(ValueError, match="whole outputs"):
        ranked(apoz, net, units.channels)
    with pytest.raises(ValueError, match=r"the outputs of \['end.weight'\] reach no activation"):
        ranked(apoz, net, units.out_features, "end.weight")


def test_dataflow_is_found_through_sums_and_never_by_name():
    net = resnet20(10, 3, 32)
    seen = {}
    flow = trace(net, [zero_image(net, (3, 32, 32))], lambda name, values: seen.setdefault(name, values.shape))
    assert flow.network_outputs == {"classifier.weight"}
    assert flow.norm_of["layer2.0.shortcut.conv.weight"] == "layer2.0.shortcut.bn"
    assert flow.norm_sources["layer1.0.bn2"] == {"layer1.0.conv2.weight"}
    assert seen["layer2.0.conv2.weight"] == (1, 32, 16, 16)
    assert set(seen) == set(Masks.ones(net)) - {"classifier.weight"}
    narrow = {}
    net = mobilenet_v2(10, 3, 32)
    trace(net, [zero_image(net, (3, 32, 32))], lambda name, values: narrow.setdefault(name, None))
    assert "blocks.3.project.conv.weight" not in narrow  # a linear bottleneck


def test_a_group_is_ranked_by_the_mean_of_its_weights(net):
    masks = Masks.ones(net)
    rule = ScheduleRule.of(names=["zig"], unit="filters", end=0.5, at=[0], coupled="ignore")
    (scores,) = rule.ranking.scores(
        net, masks, [single_group("zig.weight", masks["zig.weight"].shape, units.filters)], None, 0
    )
    assert torch.allclose(scores, ranked(l1, net))
