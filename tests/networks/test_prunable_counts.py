"""Numbers of weights as in the papers' tables, and multiply-adds, which reveal a wrong stride."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lth import networks


def build(name, classes=10, channels=3, image_size=32, **options):
    """The network on the meta device: counting needs only shapes."""
    with torch.device("meta"):
        return getattr(networks, name)(classes=classes, channels=channels, image_size=image_size, **options).eval()


def prunable(net):
    """Weights of conv and linear layers by name."""
    layers = ((name, layer) for name, layer in net.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear))
    return {name: layer.weight for name, layer in layers}


def total(net):
    return sum(weight.numel() for weight in prunable(net).values())


def parameters(net):
    return sum(parameter.numel() for parameter in net.parameters())


TINY = {"classes": 200, "image_size": 64}
IMAGENET = {"classes": 1000, "image_size": 224}
DIGITS = {"channels": 1, "image_size": 8}
GREY = {"channels": 1, "image_size": 28}

COUNTS = [  # network, dataset and options, layers, weights
    ("mlp", {**DIGITS, "widths": [300, 100]}, 3, 50_200),
    ("lenet_300_100", GREY, 3, 266_200),
    ("lenet5", GREY, 4, 430_500),
    ("lenet5", {**GREY, "widths": [6, 16, 120, 84]}, 5, 44_190),
    ("conv2", {}, 5, 4_300_992),
    ("conv4", {}, 7, 2_425_024),
    ("conv6", {}, 9, 2_261_184),
    ("resnet20", {}, 22, 270_896),
    ("resnet20", {"shortcut": "pad"}, 20, 268_336),
    ("resnet32", {"shortcut": "pad"}, 32, 461_872),
    ("resnet32", {"shortcut": "pad", "classes": 100}, 32, 467_632),
    ("resnet44", {"shortcut": "pad"}, 44, 655_408),
    ("resnet56", {"shortcut": "pad"}, 56, 848_944),
    ("resnet110", {"shortcut": "pad"}, 110, 1_719_856),
    ("resnet32_double", {"shortcut": "pad", "classes": 100}, 32, 1_856_864),
    ("resnet32_double", {}, 34, 1_855_584),
    ("resnet18", {}, 21, 11_164_352),
    ("resnet18", {"classes": 100}, 21, 11_210_432),
    ("resnet18", TINY, 21, 11_261_632),
    ("resnet18", {**TINY, "stem": "imagenet"}, 21, 11_269_312),
    ("resnet18", IMAGENET, 21, 11_678_912),
    ("resnet34", IMAGENET, 37, 21_779_648),
    ("resnet50", {}, 54, 23_467_712),
    ("resnet50", {"classes": 100}, 54, 23_652_032),
    ("resnet50", IMAGENET, 54, 25_502_912),
    ("resnet50", {**TINY, "stem": "imagenet"}, 54, 23_864_512),
    ("vgg16", {}, 14, 14_715_584),
    ("vgg19", {}, 17, 20_024_000),
    ("mobilenet_v1", {}, 28, 3_195_328),
    ("mobilenet_v2", {}, 58, 2_261_824),
    ("wide_resnet_28_2", {}, 29, 1_463_984),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options", "layers", "weights"), COUNTS)
def test_prunable_weights_are_as_published(name, options, layers, weights):
    net = build(name, **options)
    assert (len(prunable(net)), total(net)) == (layers, weights)


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("resnet20", {}, 272_474),
        ("resnet32_double", {}, 1_860_522),
        ("mobilenet_v1", {}, 3_217_226),
        ("wide_resnet_28_10", {}, 36_479_194),
        ("resnet18", IMAGENET, 11_689_512),
        ("resnet50", IMAGENET, 25_557_032),
    ],
)
def test_all_parameters_with_batch_norm_and_bias_are_as_published(name, options, expected):
    assert parameters(build(name, **options)) == expected


@pytest.mark.parametrize(("name", "layers", "expected"), [("resnet18", 21, 9_273), ("resnet20", 22, 1_651)])
def test_sum_of_all_dimensions_is_as_published(name, layers, expected):
    assert sum(sum(weight.shape) for weight in prunable(build(name)).values()) == expected


@pytest.mark.parametrize(
    ("name", "options", "shortcuts", "weights"),
    [
        ("resnet18", {}, 3, 172_032),
        ("resnet50", IMAGENET, 4, 2_768_896),
        ("resnet32_double", {}, 2, 10_240),
        ("wide_resnet_28_2", {}, 3, 10_752),
        ("mobilenet_v2", {}, 4, 58_240),
    ],
)
def test_shortcut_convolutions_are_found_by_name(name, options, shortcuts, weights):
    found = [weight.numel() for layer, weight in prunable(build(name, **options)).items() if "shortcut" in layer]
    assert (len(found), sum(found)) == (shortcuts, weights)


@pytest.mark.parametrize(
    ("name", "stem_and_head", "scope"),
    [("resnet20", 432 + 640, 269_824), ("resnet32_double", 864 + 1_280, 1_853_440)],
)
def test_stem_and_head_are_found_by_name(name, stem_and_head, scope):
    left_dense = {"conv1", "classifier"}
    weights = prunable(build(name))
    assert sum(weights[layer].numel() for layer in left_dense) == stem_and_head
    assert sum(weight.numel() for layer, weight in weights.items() if layer not in left_dense) == scope


def pyramid_rate(sizes, density):
    """r with sum of n_l r^l equal to density times sum of n_l, by bisection."""
    low, high = 0.0, 1.0
    for _ in range(60):
        rate = (low + high) / 2
        kept = sum(size * rate**depth for depth, size in enumerate(sizes, 1))
        low, high = (rate, high) if kept < density * sum(sizes) else (low, rate)
    return low


@pytest.mark.parametrize(("name", "rate"), [("resnet18", 0.818367), ("resnet20", 0.797917)])
def test_layers_come_in_the_order_on_which_pyramidal_densities_rest(name, rate):
    sizes = [weight.numel() for weight in prunable(build(name)).values()]
    assert pyramid_rate(sizes, 0.05) == pytest.approx(rate, abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "multiply_adds"),
    [
        ("conv4", {}, 98_306_560),
        ("resnet20", {}, 40_813_184),
        ("resnet56", {}, 125_747_840),
        ("resnet18", {}, 555_422_720),
        ("vgg16", {}, 313_201_664),
        ("resnet50", IMAGENET, 4_089_184_256),
    ],
)
def test_multiply_adds_of_one_image_are_those_of_the_strides_and_pools_published(name, options, multiply_adds):
    net = build(name, **options)
    size = options.get("image_size", 32)
    with FlopCounterMode(display=False) as counter:
        net(torch.empty(1, 3, size, size, device="meta"))
    assert counter.get_total_flops() == 2 * multiply_adds


@pytest.mark.parametrize(("name", "weights"), [("conv2", 38_592), ("conv4", 259_776), ("conv6", 1_144_512)])
def test_convolutions_of_conv_nets_are_as_published(name, weights):
    found = [weight for layer, weight in prunable(build(name)).items() if layer.startswith("convs")]
    assert sum(weight.numel() for weight in found) == weights
