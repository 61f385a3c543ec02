"""Invalid options are refused before training, with the value and the valid ones."""

import re
import subprocess
import sys

import pytest

from lth import networks


def build(name, image_size=32, **options):
    return getattr(networks, name)(classes=10, channels=3, image_size=image_size, **options)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "smallest"),
    [
        ("lenet5", 4),
        ("conv2", 2),
        ("conv4", 4),
        ("conv6", 8),
        ("resnet20", 4),
        ("resnet18", 8),
        ("wide_resnet_28_2", 4),
        ("vgg11", 8),
        ("mobilenet_v1", 8),
        ("mobilenet_v2", 8),
    ],
)
def test_an_image_too_small_is_refused_and_the_smallest_is_not(name, smallest):
    build(name, image_size=smallest)
    with pytest.raises(ValueError, match=f"image_size={smallest - 1} is too small.*valid: {smallest}"):
        build(name, image_size=smallest - 1)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v1", "mobilenet_v2"])
def test_the_imagenet_stem_needs_32_pixels(name):
    with pytest.raises(ValueError, match=r"image_size=31 is too small.*valid: 32"):
        build(name, image_size=31, stem="imagenet")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet20", {"init": "kaiming"}, "init='kaiming' is unknown; valid: kaiming_normal, kaiming_uniform, signed_"),
        ("resnet20", {"fan": "fan_avg"}, "fan='fan_avg' is unknown; valid: fan_in, fan_out"),
        ("resnet20", {"shortcut": "A"}, "shortcut='A' is unknown; valid: conv, pad"),
        ("lenet5", {"widths": [20, 50]}, "widths=[20, 50] makes no LeNet-5; valid: two convolutions and one or more"),
        ("lenet5", {"widths": [20, 0, 5]}, "widths=[20, 0, 5] makes no LeNet-5; valid: two convolutions and one"),
        ("resnet18", {"stem": "tiny"}, "stem='tiny' is unknown; valid: auto, cifar, imagenet"),
        ("mobilenet_v2", {"stem": "tiny"}, "stem='tiny' is unknown; valid: auto, cifar, imagenet"),
        ("mlp", {"widths": []}, "widths=[] makes no network; valid: positive widths"),
        ("mlp", {"widths": [300, 0]}, "widths=[300, 0] makes no network; valid: positive widths"),
        ("cifar_resnet", {"depth": 21}, "depth=21 is not a CIFAR ResNet; valid: 6n + 2, e.g. 8, 14, 20"),
        ("cifar_resnet", {"depth": 2}, "depth=2 is not a CIFAR ResNet"),
        ("wide_resnet", {"depth": 27, "width": 2}, "depth=27 is not a wide ResNet; valid: 6n + 4, e.g. 10, 16, 22"),
    ],
)
def test_an_unknown_setting_is_refused_with_the_valid_ones(name, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        build(name, **options)


@pytest.mark.slow
def test_importing_the_networks_imports_neither_torchvision_nor_timm():
    code = "import sys, lth.networks; print([name for name in ('torchvision', 'timm') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
