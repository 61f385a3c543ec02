"""Group lasso: penalty and gradient equal a slow sum over all units; contradictory settings are refused."""

from functools import partial

import pytest
import torch
from torch import nn

from lth.modules._penalty import mask_weak, mask_weakest, penalty, penalty_groups
from lth.networks import mlp, mobilenet_v2, resnet20, vgg11
from lth.pruning import Masks
from lth.pruning.structured import units
from lth.pruning.structured._penalised import unit_members
from lth.pruning.structured.group_lasso import group_lasso
from lth.pruning.structured.scales import _source_weights, scale_l1

UNITS = {
    "elements": (units.elements, "*"),
    "filters": (units.filters, "conv*"),
    "channels": (units.channels, "conv*"),
    "kernels": (units.kernels, "conv*"),
    "out_features": (units.out_features, "fc"),
    "in_features": (units.in_features, "fc"),
    "outputs": (units.outputs, "*"),
    "inputs": (units.inputs, "*"),
    "layer": (units.layer, "*"),
    "blocks": (partial(units.blocks, rows=2, columns=1), "*"),
}


def lasso(parts, layers, strength):
    return partial(group_lasso, unit=parts, layers=layers, strength=strength)


def slim(layers, strength):
    return partial(scale_l1, layers=layers, strength=strength)


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(2, 4, 3)
        self.bn1 = nn.BatchNorm2d(4)
        self.conv2 = nn.Conv2d(4, 4, 3, bias=False)
        self.bn2 = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, 6)

    def forward(self, x):
        x = self.bn1(self.conv1(x)).relu()
        return self.fc(self.bn2(self.conv2(x)).relu().mean((2, 3)))


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    return Small().double()


def named(net: nn.Module) -> dict[str, nn.Parameter]:
    return dict(net.named_parameters())


def slow(weight: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    """The sum of the norms of all parts, one part at a time."""
    return sum(weight[numbers == part].norm() for part in range(units.count_units(numbers)))


@pytest.mark.parametrize("name", UNITS)
def test_penalty_and_gradient_are_those_of_a_slow_sum_for_every_unit(name, net):
    parts, layers = UNITS[name]
    groups = penalty_groups(net, [lasso(parts, [layers], 0.3)])
    value = penalty(named(net), groups)
    covered = [p for n, p in named(net).items() if n in {g.parameter for g in groups}]
    expected = 0.3 * sum(slow(weight, parts(weight.shape)) for weight in covered)
    assert value.item() == pytest.approx(expected.item())
    for ours, theirs in zip(torch.autograd.grad(value, covered), torch.autograd.grad(expected, covered), strict=True):
        assert torch.allclose(ours, theirs)


def test_a_group_of_zeros_has_the_gradient_zero(net):
    with torch.no_grad():
        net.conv1.weight[2] = 0
    groups = penalty_groups(net, [lasso(units.filters, ["conv1"], 1)])
    (gradient,) = torch.autograd.grad(penalty(named(net), groups), [net.conv1.weight])
    assert torch.equal(gradient[2], torch.zeros_like(gradient[2]))
    assert gradient.isfinite().all()


def test_terms_add_up_and_layers_may_have_strengths_of_their_own(net):
    channels = lasso(units.channels, [["conv1", 0.1], "conv2"], 0.2)
    whole = lasso(units.layer, ["conv2"], 0.5)
    value = penalty(named(net), penalty_groups(net, [channels, whole]))
    one, two = net.conv1.weight, net.conv2.weight
    expected = (
        0.1 * slow(one, units.channels(one.shape)) + 0.2 * slow(two, units.channels(two.shape)) + 0.5 * two.norm()
    )
    assert value.item() == pytest.approx(expected.item())


def test_slimming_is_the_l1_norm_of_the_scales(net):
    with torch.no_grad():
        net.bn1.weight.copy_(torch.tensor([0.5, -2.0, 0.0, 1.0]))
    groups = penalty_groups(net, [slim(["bn1"], 0.1)])
    value = penalty(named(net), groups, eps=0)
    assert value.item() == pytest.approx(0.35)
    (gradient,) = torch.autograd.grad(penalty(named(net), groups), [net.bn1.weight])
    assert torch.allclose(gradient, 0.1 * net.bn1.weight.detach().sign())


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (["conv9"], "'conv9' matches nothing"),
        (["conv1", "conv*"], r"\['conv1.weight'\] are penalised twice, by 'conv\*' and by 'conv1'"),
        (["conv1", "conv1"], "penalised twice"),
        ([["conv1", -1]], "strength -1"),
        ([], "no layers are given"),
        (["fc"], "filters are parts of a convolution"),
    ],
)
def test_a_schedule_with_missing_or_duplicate_layers_is_refused(layers, message, net):
    with pytest.raises(ValueError, match=message):
        penalty_groups(net, [lasso(units.filters, layers, 1)])


def test_two_terms_must_not_divide_a_layer_in_the_same_way(net):
    terms = [lasso(units.filters, ["conv1"], 1), lasso(units.outputs, ["conv*"], 1)]
    with pytest.raises(ValueError, match=r"conv1\.weight is penalised twice, in the same 4 groups"):
        penalty_groups(net, terms)


def test_parts_of_different_sizes_are_refused():
    with pytest.raises(ValueError, match="not all of one size"):
        unit_members(torch.tensor([0, 0, 1]))
    with pytest.raises(ValueError, match="not all of one size"):
        unit_members(torch.tensor([0, 0, 0, 1]))


@pytest.mark.parametrize(("measure", "gone"), [("mean_abs", [1, 3]), ("max", [3])])
def test_units_under_the_threshold_are_masked_and_no_others(measure, gone, net):
    with torch.no_grad():
        net.conv1.weight.fill_(0.2)
        net.conv1.weight[1] = 0.01
        net.conv1.weight[1, 0, 0, 0] = 0.15
        net.conv1.weight[3] = -0.01
    masks, groups = Masks.ones(net), penalty_groups(net, [lasso(units.filters, ["conv1"], 1)])
    found = mask_weak(net, masks, groups, 0.1, measure)
    assert masks.density == 1
    assert found["conv1.weight"].amax((1, 2, 3)).tolist() == [float(i not in gone) for i in range(4)]
    assert found["conv2.weight"].all()


def test_weak_units_leave_pruned_weights_pruned(net):
    masks, groups = Masks.ones(net), penalty_groups(net, [lasso(units.filters, ["conv*"], 1)])
    masks["conv2.weight"][0] = 0
    found = mask_weak(net, masks, groups, 1e-9)
    assert torch.equal(found["conv2.weight"], masks["conv2.weight"])


def slow_weakest(weights: dict[str, torch.Tensor], kept: int) -> dict[str, list[int]]:
    """The outputs that are left of each layer: those of the largest share removed at which `kept` weights are."""
    counts = {name: len(weight) for name, weight in weights.items()}
    best = {name: list(range(count)) for name, count in counts.items()}
    for step in range(1, 1000):  # shares in thousandths
        left = {}
        for name, weight in weights.items():
            removed = min(counts[name] - 1, -(-step * counts[name] // 1000))
            order = sorted(range(counts[name]), key=lambda i: float(weight[i].abs().mean()))
            left[name] = sorted(order[removed:])
        if sum(len(left[name]) * weight[0].numel() for name, weight in weights.items()) < kept:
            break
        best = left
    return best


@pytest.mark.parametrize("kept", [240, 239, 200, 180, 150, 120, 100, 60, 58])
def test_the_weakest_units_of_every_layer_are_masked_until_the_next_would_be_too_many(kept, net):
    masks, groups = Masks.ones(net), penalty_groups(net, [lasso(units.outputs, ["*"], 1)])
    found = mask_weakest(net, masks, groups, kept)
    expected = slow_weakest({name: named(net)[name] for name in masks}, kept)
    assert {name: mask.flatten(1).any(1).nonzero().flatten().tolist() for name, mask in found.items()} == expected
    assert found.kept >= kept


def test_a_density_that_one_unit_a_layer_exceeds_is_refused(net):
    groups = penalty_groups(net, [lasso(units.filters, ["conv*"], 1)])
    with pytest.raises(ValueError, match=r"78 of 240 weights are left: 77 cannot be reached"):
        mask_weakest(net, Masks.ones(net), groups, 77)


def test_a_weak_scale_masks_the_output_it_scales(net):
    with torch.no_grad():
        net.bn2.weight.copy_(torch.tensor([1.0, -1e-3, 0.5, 1e-3]))
    found = mask_weak(net, Masks.ones(net), penalty_groups(net, [slim(["bn2"], 1)]), 0.01)
    assert found["conv2.weight"].amax((1, 2, 3)).tolist() == [1, 0, 1, 0]
    assert found["conv1.weight"].all()


@pytest.mark.slow
@pytest.mark.parametrize(
    "build", [resnet20, vgg11, mobilenet_v2, partial(mlp, [8, 6], batch_norm=True)], ids=["resnet", "vgg", "mb", "mlp"]
)
def test_every_batch_norm_of_our_networks_knows_the_weight_before_it(build):
    net = build(classes=10, channels=3, image_size=32)
    norms = [n for n, m in net.named_modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    found = _source_weights(net)
    assert set(found) == {f"{name}.weight" for name in norms}
    sizes = dict(net.named_parameters())
    assert all(sizes[weight].shape[0] == sizes[scale].shape[0] for scale, weight in found.items())


def test_a_threshold_is_refused_where_nothing_tells_what_it_would_mask(net):
    groups = penalty_groups(net, [slim(["bn2"], 1)])
    with pytest.raises(ValueError, match=r"conv2\.weight is not prunable here"):
        mask_weak(net, Masks.ones(net, exclude=["conv2"]), groups, 0.1)

    class Before(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.fc = nn.BatchNorm1d(4), nn.Linear(4, 2)

        def forward(self, x):
            return self.fc(self.norm(x))

    first = Before()
    with pytest.raises(ValueError, match=r"norm\.weight belong to cannot be told"):
        mask_weak(first, Masks.ones(first), penalty_groups(first, [slim(["*"], 1)]), 0.1)
    with pytest.raises(ValueError, match="has no batch norm with scales"):
        penalty_groups(nn.Linear(2, 2), [slim(["*"], 1)])
