"""Layer densities: the published tables to their digits, layers kept dense, pyramids by depth, scored ratios."""

from functools import partial

import pytest
import torch

from lth import networks
from lth.analysis.layers import uses_per_image
from lth.pruning import Masks, allocation, criteria, prune
from lth.pruning.criterion import Batches
from lth.pruning.position import shuffled
from lth.pruning.restore import preserved

CIFAR = {"classes": 10, "channels": 3, "image_size": 32}


def zeros(factory, **options) -> dict[str, torch.Tensor]:
    with torch.device("meta"):
        net = factory(**{**CIFAR, **options})
    return {name: torch.zeros(m.shape) for name, m in Masks.ones(net).items()}


R18, R20 = zeros(networks.resnet18), zeros(networks.resnet20)
R18_AT_5 = {  # layer: erk, er, balanced
    "conv1": (1, 1, 1),
    "layer1.1.conv2": (0.232725, 0.259735, 0.818591),
    "layer2.0.conv1": (0.171939, 0.194801, 0.409295),
    "layer2.0.conv2": (0.113757, 0.129868, 0.204648),
    "layer2.0.shortcut.conv": (1, 0.194801, 1),
    "layer3.0.conv1": (0.084667, 0.097401, 0.102324),
    "layer3.1.conv2": (0.056227, 0.064934, 0.051162),
    "layer3.0.shortcut.conv": (0.754186, 0.097401, 0.920915),
    "layer4.0.conv1": (0.042008, 0.048700, 0.025581),
    "layer4.1.conv2": (0.027951, 0.032467, 0.012790),
    "layer4.0.shortcut.conv": (0.376116, 0.048700, 0.230229),
    "classifier": (1, 0.847386, 1),
}
R20_LAYERS = {  # layer: erk 5 %, erk 10 %, balanced 5 %
    "conv1": (0.474768, 0.982985, 1),
    "layer1.0.conv1": (0.135309, 0.280151, 0.273455),
    "layer2.0.conv1": (0.096141, 0.199055, 0.136727),
    "layer2.2.conv2": (0.062313, 0.129017, 0.068364),
    "layer2.0.shortcut.conv": (0.801172, 1, 1),
    "layer3.0.conv1": (0.045400, 0.093998, 0.034182),
    "layer3.1.conv1": (0.029821, 0.061744, 0.017091),
    "layer3.0.shortcut.conv": (0.392574, 0.812806, 0.307637),
    "classifier": (0.948587, 1, 0.984438),
}


def check(scores, counts, expected) -> None:
    for layer, density in expected.items():
        total = scores[f"{layer}.weight"].numel()
        assert counts[f"{layer}.weight"] / total == pytest.approx(density, abs=1 / total + 1e-6), layer


@pytest.mark.parametrize(("column", "rule"), list(enumerate([allocation.erk, allocation.er, allocation.balanced])))
def test_layer_densities_of_resnet_18_are_the_published_ones(column, rule):
    check(R18, rule(R18, 0.05), {layer: densities[column] for layer, densities in R18_AT_5.items()})


@pytest.mark.parametrize(
    ("column", "rule", "density"),
    [(0, allocation.erk, 0.05), (1, allocation.erk, 0.1), (2, allocation.balanced, 0.05)],
)
def test_layer_densities_of_resnet_20_are_the_published_ones(column, rule, density):
    check(R20, rule(R20, density), {layer: densities[column] for layer, densities in R20_LAYERS.items()})


def test_er_densities_of_the_ends_of_resnet_20_are_the_published_ones():
    check(R20, allocation.er(R20, 0.05), {"conv1": 0.444826, "classifier": 0.129936})


def test_pyramid_densities_of_the_ends_are_the_published_ones_and_grow_with_the_density():
    check(R18, allocation.pyramid(R18, 0.05), {"conv1": 0.818367, "classifier": 0.014856})
    check(R20, allocation.pyramid(R20, 0.05), {"conv1": 0.797917, "classifier": 0.006967})
    ends = [allocation.pyramid(R18, d)["layer4.1.conv2.weight"] for d in (0.01, 0.05, 0.1, 0.5, 0.9)]
    assert ends == sorted(set(ends))


def test_a_classifier_of_1x1_convolutions_changes_published_erk_alone():
    *_, head = R18
    other = {**R18, head: torch.zeros(10, 512, 1, 1)}
    total = sum(s.numel() for s in R18.values())
    for density, realised in ((0.05, 0.047083), (0.1, 0.091592), (0.5, 0.388557)):
        short = sum(allocation.erk(other, density, as_published="clip").values()) / total
        assert short == pytest.approx(realised, abs=3 / total + 5e-7)
    assert allocation.balanced(other, 0.05) == allocation.balanced(R18, 0.05)


MULTIPLY_ADDS = {  # at .5, .1 and .05
    allocation.uniform: (0.500, 0.100, 0.050),
    allocation.erk: (0.796, 0.248, 0.125),
    allocation.balanced: (0.839, 0.456, 0.307),
    allocation.pyramid: (0.658, 0.290, 0.213),
}


@pytest.mark.slow
def test_at_equal_counts_allocations_cost_the_published_multiply_adds():
    uses = uses_per_image(networks.resnet18(**CIFAR), (3, 32, 32))
    dense = sum(score.numel() * uses[name] for name, score in R18.items())
    assert dense == 555_422_720
    for rule, shares in MULTIPLY_ADDS.items():
        for density, share in zip((0.5, 0.1, 0.05), shares, strict=True):
            kept = sum(count * uses[name] for name, count in rule(R18, density).items())
            assert kept / dense == pytest.approx(share, abs=6e-4), (rule.__name__, density)


@pytest.mark.parametrize("base", [allocation.uniform, allocation.erk, allocation.global_, allocation.pyramid])
def test_layers_kept_dense_count_against_the_density(base):
    torch.manual_seed(0)
    scores = {name: torch.rand(score.shape) for name, score in R20.items()}
    counts = allocation.fixing(scores, 0.1, base=base, dense=["@first", "layer2.0.shortcut.*", "classifier"])
    whole = {"conv1.weight", "layer2.0.shortcut.conv.weight", "classifier.weight"}
    assert all(counts[name] == scores[name].numel() for name in whole)
    assert list(counts) == list(scores)
    assert sum(counts.values()) == allocation.count_kept(0.1, 270_896)
    left = {name: score for name, score in scores.items() if name not in whole}
    alone = base(left, (27_090 - 432 - 512 - 640) / sum(s.numel() for s in left.values()))
    assert all(abs(counts[name] - alone[name]) <= 1 for name in left)


def test_without_fixed_layers_nothing_changes():
    assert allocation.fixing(R20, 0.1, base=allocation.erk) == allocation.erk(R20, 0.1)


def test_dense_layers_inside_a_support_keep_what_it_has():
    scores = {"a": torch.rand(100), "b": torch.rand(100)}
    scores["a"][:40] = -torch.inf
    assert allocation.fixing(scores, 0.5, base=allocation.uniform, dense=["a"]) == {"a": 60, "b": 40}


@pytest.mark.parametrize(
    ("options", "density", "message"),
    [
        ({"dense": ["layer4.*"]}, 0.1, "matches none of the layers"),
        ({"dense": ["layer3.*"]}, 0.1, "leaves -"),
        ({"dense": ["*"]}, 1.0, "leaves 0 weights to 0 others"),
        ({"layers": {"@head": 20}}, 0.1, "did you mean 0.2"),
        ({"layers": {"layer3.*": 0.01}}, 0.9, "leaves 24.* weights to 6"),
    ],
)
def test_fixed_layers_that_fit_no_budget_are_refused(options, density, message):
    with pytest.raises(ValueError, match=message):
        allocation.fixing(R20, density, base=allocation.uniform, **options)


def exponents(**options) -> dict[str, int]:
    """Which power of the rate each layer of a ResNet-18 got."""
    counts = allocation.pyramid(R18, 0.5, **options)
    rate = counts["conv1.weight"] / 1728
    steps = {n: torch.tensor(counts[n] / R18[n].numel()).log() / torch.tensor(rate).log() for n in R18}
    return {name.removesuffix(".weight"): round(float(step)) for name, step in steps.items()}


def test_pyramids_count_layers_as_registered_or_by_depth():
    published = exponents()
    assert list(published.values()) == list(range(1, 22))
    deep = exponents(order="depth")
    assert deep["classifier"] == 18
    assert deep["layer2.0.shortcut.conv"] == deep["layer2.0.conv1"] == 6
    tied = exponents(tie_shortcuts=True)
    assert tied["classifier"] == 18
    assert tied["layer2.0.shortcut.conv"] == tied["layer2.0.conv2"] == 7
    assert exponents(order="depth", tie_shortcuts=True) == tied
    for options in ({"order": "depth"}, {"tie_shortcuts": True}):
        counts = allocation.pyramid(R18, 0.05, **options)
        assert sum(counts.values()) == 558_218
    with pytest.raises(ValueError, match="order 'width' is not one of"):
        allocation.pyramid(R18, 0.5, order="width")


class Images(Batches):
    classes, image_shape = 4, (1, 8, 8)

    def per_class(self, k):
        random = torch.Generator().manual_seed(0)
        return torch.randn(16, 1, 8, 8, generator=random), torch.arange(16) % 4


@pytest.mark.parametrize("criterion", [criteria.snip, criteria.grasp, criteria.synflow, criteria.magnitude])
def test_a_scored_ratio_keeps_the_layer_counts_of_its_scores_at_random_places(criterion):
    torch.manual_seed(0)
    net = networks.mlp(classes=4, channels=1, image_size=8, widths=[32, 24])
    whole = Masks.ones(net)
    scored = prune(net, whole, 0.2, criterion, allocation.global_, Images())
    ratio = prune(net, whole, 0.2, criterion, allocation.global_, Images(), placement=partial(shuffled, seed=0))
    other = prune(net, whole, 0.2, criterion, allocation.global_, Images(), placement=partial(shuffled, seed=1))
    assert ratio.kept_by_layer() == scored.kept_by_layer() == other.kept_by_layer()
    kept = scored.kept_by_layer()
    expected = sum(count**2 / whole[name].numel() for name, count in kept.items())
    for one, another in ((scored, ratio), (ratio, other)):
        both = sum(int((one[name] * another[name]).sum()) for name in kept)
        assert both == pytest.approx(expected, abs=4 * expected**0.5)


@pytest.mark.slow
def test_as_published_a_ratio_scores_xavier_weights_and_grasp_xavier_linear_layers():
    torch.manual_seed(0)
    net = networks.lenet5(classes=4, channels=1, image_size=16)
    masks, batches = Masks.ones(net), Images()
    batches.per_class = lambda k: (torch.randn(16, 1, 16, 16, generator=torch.manual_seed(0)), torch.arange(16) % 4)
    for criterion, redraw in ((criteria.snip, "all"), (criteria.grasp, "linear")):
        before = {name: p.detach().clone() for name, p in net.named_parameters()}
        with preserved(net):
            criterion(net, masks, batches, redraw=redraw)
            seen = {name: p.detach().clone() for name, p in net.named_parameters()}
        chosen = prune(net, masks, 0.1, partial(criterion, redraw=redraw), allocation.global_, batches)
        for name, p in net.named_parameters():
            assert torch.equal(p, before[name]), "scored on a network that comes back"
            changed = name in masks and (redraw == "all" or p.dim() == 2)
            assert torch.equal(seen[name], p) != changed, name
            if changed:
                fans = p.shape[0] * p[0, 0].numel() + p[0].numel()
                assert seen[name].std().item() == pytest.approx((2 / fans) ** 0.5, rel=0.2)
        plain = prune(net, masks, 0.1, criterion, allocation.global_, batches)
        assert chosen.digest() != plain.digest()
    with pytest.raises(ValueError, match="redraw 'xavier' is not one of"):
        criteria.snip(net, masks, batches, redraw="xavier")
