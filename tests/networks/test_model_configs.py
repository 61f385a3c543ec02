"""Every file of conf/model builds the network of its name."""

from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from lth import networks

CONF = Path(__file__).parents[2] / "conf" / "model"
FILES = sorted(CONF.glob("[!_]*.yaml"))  # _*.yaml: keys that several networks share
DATASET = {"classes": 10, "channels": 3, "image_size": 32}


def composed(file):
    """The file over those in its defaults."""
    text = OmegaConf.load(CONF / f"{file}.yaml")
    parents = text.pop("defaults", [])
    return OmegaConf.merge(*map(composed, parents), text)


def load(file, **overrides):
    model = OmegaConf.merge(composed(file), overrides)
    return OmegaConf.create({"dataset": DATASET, "model": model}).model


def test_every_network_has_a_file():
    general = {"cifar_resnet", "wide_resnet", "initialise_"}
    factories = {name.removesuffix("_model") for name in set(networks.__all__) - general}
    assert {path.stem for path in FILES} == factories


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_file_says_what_it_is_and_names_its_factory_and_the_common_options(path):
    assert path.read_text().startswith("# ")
    assert load(path.stem)._target_.removesuffix("_model") == f"lth.networks.{path.stem}"
    assert {"classes", "channels", "image_size", "bias", "affine", "init"} <= composed(path.stem).keys()


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_file_builds_a_network_for_the_dataset(path):
    with torch.device("meta"):
        net = instantiate(load(path.stem))
        assert net(torch.empty(2, 3, 32, 32)).shape == (2, 10)


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_holds_the_factorys_own_defaults(path):
    config = load(path.stem)
    needed = {"widths": config.get("widths"), "name": config.get("name")}
    factory = getattr(networks, config._target_.split(".")[-1])
    with torch.device("meta"):
        plain = factory(**DATASET, **{key: value for key, value in needed.items() if value})
        assert str(instantiate(config)) == str(plain)


@pytest.mark.parametrize("name", ["mlp", "lenet5", "conv4", "resnet20", "wide_resnet_28_2", "mobilenet_v2"])
def test_a_file_draws_the_weights_that_the_factory_draws(name):
    torch.manual_seed(0)
    configured = instantiate(load(name)).state_dict()
    torch.manual_seed(0)
    widths = {"widths": [300, 100]} if name == "mlp" else {}
    plain = getattr(networks, name)(**DATASET, **widths).state_dict()
    assert all(torch.equal(configured[key], plain[key]) for key in plain)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "overrides", "key", "shape"),
    [
        ("mlp", {"widths": [7, 5]}, "hidden.1.weight", (5, 7)),
        ("resnet18", {"stem": "imagenet"}, "conv1.weight", (64, 3, 7, 7)),
        ("torchvision", {"name": "squeezenet1_1"}, "classifier.1.weight", (10, 512, 1, 1)),
        ("timm", {"name": "resnet10t"}, "fc.weight", (10, 512)),
    ],
)
def test_the_documented_keys_reach_the_network(name, overrides, key, shape):
    assert instantiate(load(name, **overrides)).state_dict()[key].shape == shape


@pytest.mark.parametrize(
    ("overrides", "gone"), [({"bias": False}, "classifier.bias"), ({"affine": False}, "bn1.weight")]
)
def test_bias_and_affine_can_be_switched_off(overrides, gone):
    assert gone in instantiate(load("resnet20")).state_dict()
    assert gone not in instantiate(load("resnet20", **overrides)).state_dict()


def test_padding_can_be_chosen_as_shortcut():
    keys = instantiate(load("resnet20", shortcut="pad")).state_dict()
    assert not any("shortcut" in key for key in keys)
