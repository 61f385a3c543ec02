"""Every network: all image sizes, its options, and what methods need of it."""

import pytest
import torch
from torch import nn
from torch.func import functional_call

from lth import networks
from lth.networks._blocks import PadShortcut

CIFAR_RESNETS = ["resnet20", "resnet32", "resnet44", "resnet56", "resnet110", "resnet32_double"]
RESNETS = [*CIFAR_RESNETS, "resnet18", "resnet34", "resnet50"]
PLAIN = ["mlp", "lenet_300_100", "lenet5", "conv2", "conv4", "conv6"]
STEMMED = ["resnet18", "resnet34", "resnet50", "mobilenet_v1", "mobilenet_v2"]
NORMED = [
    *RESNETS,
    *("wide_resnet_28_2", "wide_resnet_28_10", "vgg11", "vgg13", "vgg16", "vgg19", "mobilenet_v1", "mobilenet_v2"),
]
ALL = [*PLAIN, *NORMED]
LIGHT = ["mlp", "lenet5", "conv4", "resnet20", "wide_resnet_28_2", "vgg11", "mobilenet_v1", "mobilenet_v2"]

FAMILIES = [
    "mlp",
    "lenet5",
    "conv6",
    "resnet20",
    "resnet50",
    "wide_resnet_28_2",
    "vgg19",
    "mobilenet_v1",
    "mobilenet_v2",
]

SMALLEST, LARGEST = (10, 1, 8), (1000, 3, 224)
BETWEEN = [(10, 1, 28), (100, 3, 32), (200, 3, 64)]


def build(name, classes=10, channels=3, image_size=32, **options):
    if name == "mlp":
        options.setdefault("widths", [300, 100])
    return getattr(networks, name)(classes=classes, channels=channels, image_size=image_size, **options)


def on_meta(name, **options):
    with torch.device("meta"):
        return build(name, **options)


def seeded(name, seed=0, **options):
    torch.manual_seed(seed)
    return build(name, **options)


def normed(name):
    return {} if name in NORMED else {"batch_norm": True}


def norms_of(net):
    return [module for module in net.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)]


def test_the_networks_of_these_tests_are_all_there_are():
    general = {"cifar_resnet", "wide_resnet", "initialise_", "timm_model", "torchvision_model"}
    assert set(networks.__all__) - general == set(ALL)


@pytest.mark.parametrize(
    ("name", "classes", "channels", "image_size"),
    [(name, *SMALLEST) for name in ALL] + [(name, *images) for name in FAMILIES for images in [*BETWEEN, LARGEST]],
)
@pytest.mark.slow
def test_every_network_gives_one_logit_per_class_on_images_of_every_size(name, classes, channels, image_size):
    net = on_meta(name, classes=classes, channels=channels, image_size=image_size)
    images = torch.empty(2, channels, image_size, image_size, device="meta")
    assert net(images).shape == (2, classes)


@pytest.mark.slow
@pytest.mark.parametrize("name", LIGHT)
def test_every_parameter_learns_from_one_batch(name):
    net = seeded(name, image_size=32)
    logits = net(torch.randn(8, 3, 32, 32))
    nn.functional.cross_entropy(logits, torch.arange(8)).backward()
    assert logits.isfinite().all()
    assert [key for key, weight in net.named_parameters() if weight.grad is None or not weight.grad.any()] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", LIGHT)
def test_a_hessian_vector_product_can_be_taken(name):
    net = seeded(name, channels=1, image_size=8)
    loss = nn.functional.cross_entropy(net(torch.randn(4, 1, 8, 8)), torch.arange(4))
    weights = list(net.parameters())
    gradients = torch.autograd.grad(loss, weights, create_graph=True)
    torch.autograd.grad(sum((gradient**2).sum() for gradient in gradients), weights)
    assert all(weight.grad is None for weight in weights)


@pytest.mark.slow
@pytest.mark.parametrize("name", LIGHT)
def test_a_network_can_be_called_with_other_weights(name):
    net = seeded(name, channels=1, image_size=8).eval()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    images = torch.randn(2, 1, 8, 8)
    silent = {key: torch.zeros_like(weight) for key, weight in net.named_parameters()}
    assert not functional_call(net, silent, images).any()
    assert net(images).any()
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())


@pytest.mark.slow
@pytest.mark.parametrize("name", LIGHT)
def test_a_forward_pass_leaves_its_images_as_they_were(name):
    images = torch.randn(2, 3, 32, 32)
    before = images.clone()
    seeded(name)(images)
    assert torch.equal(images, before)


@pytest.mark.slow
@pytest.mark.parametrize("name", LIGHT)
def test_the_same_seed_gives_the_same_weights_and_another_seed_others(name):
    first, again, other = (seeded(name, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not any(torch.equal(first[key], other[key]) for key in first if "classifier.weight" in key)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_affine_false_leaves_batch_norm_without_parameters(name):
    plain = norms_of(on_meta(name, affine=False, **normed(name)))
    assert plain
    assert all(list(norm.parameters()) == [] for norm in plain)
    assert all(len(list(norm.parameters())) == 2 for norm in norms_of(on_meta(name, **normed(name))))


def test_an_mlp_may_normalise_what_its_relu_gives():
    net = seeded("mlp", channels=16, image_size=1, widths=[6, 5], batch_norm=True, relu_first=True)
    x = torch.randn(9, 16, 1, 1)
    hidden = x.flatten(1)
    for linear in net.hidden:
        active = (hidden @ linear.weight.T + linear.bias).clamp(min=0)
        hidden = (active - active.mean(0)) / (active.var(0, correction=0) + 1e-5).sqrt()
    torch.testing.assert_close(net(x), hidden @ net.classifier.weight.T + net.classifier.bias, rtol=1e-4, atol=1e-5)
    assert build("mlp", batch_norm=True, relu_first=True, bias=False).hidden[0].bias is None
    with pytest.raises(ValueError, match=r"relu_first=True .*batch_norm=False; valid: batch_norm=True"):
        build("mlp", relu_first=True)


@pytest.mark.parametrize("name", PLAIN)
def test_plain_networks_have_batch_norm_only_when_asked(name):
    assert norms_of(on_meta(name)) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_bias_false_leaves_no_bias_on_convolutions_and_linear_layers(name):
    def biases(**options):
        layers = [layer for layer in on_meta(name, **options).modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
        return sum(layer.bias is not None for layer in layers), len(layers)

    layers = biases()[1]
    assert biases(bias=False) == (0, layers)
    assert biases(bias=True) == (layers if name in PLAIN else 1, layers)
    assert biases(bias=True, **normed(name)) == (1, layers)  # batch norm replaces all biases but the last


@pytest.mark.slow
@pytest.mark.parametrize("name", STEMMED)
def test_images_above_64_pixels_get_the_imagenet_stem(name):
    def first_stride(image_size, stem="auto"):
        net = on_meta(name, image_size=image_size, stem=stem)
        return next(layer.stride[0] for layer in net.modules() if isinstance(layer, nn.Conv2d))

    assert [first_stride(size) for size in (32, 64, 65, 224)] == [1, 1, 2, 2]
    assert [first_stride(64, stem) for stem in ("cifar", "imagenet")] == [1, 2]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet20", "resnet18", "resnet50"])
def test_pad_shortcuts_have_no_weights_and_give_the_same_shapes(name):
    net = on_meta(name, shortcut="pad")
    assert [key for key in net.state_dict() if "shortcut" in key] == []
    assert net(torch.empty(2, 3, 32, 32, device="meta")).shape == (2, 10)


def test_a_pad_shortcut_takes_every_second_pixel_and_centres_the_old_channels():
    x = torch.arange(1.0, 33.0).view(1, 2, 4, 4)
    out = PadShortcut(2, 5, stride=2)(x)
    assert out[0, 1:3].tolist() == [[[1, 3], [9, 11]], [[17, 19], [25, 27]]]
    assert not out[0, [0, 3, 4]].any()


def as_torchvision(key):
    renamed = key.replace("shortcut.conv", "downsample.0").replace("shortcut.bn", "downsample.1")
    return renamed.replace("classifier", "fc")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_with_the_imagenet_stem_a_resnet_is_torchvisions(name):
    from torchvision import models

    ours = seeded(name, image_size=64, stem="imagenet").eval()
    theirs = models.get_model(name, num_classes=10).eval()
    theirs.load_state_dict({as_torchvision(key): value for key, value in ours.state_dict().items()})
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(ours(images), theirs(images))


def test_a_wide_block_activates_before_its_shortcut_and_adds_its_input_elsewhere():
    block = networks.wide_resnet(10, 1, classes=2, channels=1, image_size=8).eval()
    changed, kept = block.layer2[0], networks.wide_resnet(16, 1, classes=2, channels=1, image_size=8).eval().layer2[1]
    nn.init.zeros_(changed.conv2.weight)
    nn.init.zeros_(kept.conv2.weight)
    assert not changed(-torch.ones(1, 16, 8, 8)).any()
    assert torch.equal(kept(-torch.ones(1, 32, 4, 4)), -torch.ones(1, 32, 4, 4))


@pytest.mark.parametrize(("depth", "blocks"), [(20, 3), (38, 6)])
def test_any_cifar_depth_can_be_had(depth, blocks):
    with torch.device("meta"):
        net = networks.cifar_resnet(depth, classes=10, channels=3, image_size=32)
    assert [len(getattr(net, stage)) for stage in ("layer1", "layer2", "layer3")] == [blocks] * 3
