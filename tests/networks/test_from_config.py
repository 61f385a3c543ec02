"""One function builds the network of a run and of a ticket; a ticket cannot choose which code it calls."""

import pytest
import torch

from lth.networks.from_config import build, described, image_shape

MLP = {"_target_": "lth.networks.mlp", "classes": 4, "channels": 1, "image_size": 8, "widths": [6]}


def test_the_same_seed_draws_the_same_weights():
    first, again, other = build(MLP, 1).state_dict(), build(MLP, 1).state_dict(), build(MLP, 2).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_nested_descriptions_are_built_first():
    inner = {"_target_": "torch.nn.Linear", "in_features": 3, "out_features": 2}
    net = build({"_target_": "torch.nn.ModuleDict", "modules": {"a": inner, "b": {**inner, "bias": False}}})
    assert net["a"].bias is not None
    assert net["b"].bias is None
    made = build({"_target_": "torch.nn.Linear", "_partial_": True, "in_features": 3})
    assert made(out_features=5).weight.shape == (5, 3)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"_target_": "lth.networks.nothing"}, "there is no network lth.networks.nothing"),
        ({"_target_": "no_such_package.net"}, "there is no network no_such_package.net"),
        ({**MLP, "width": 3}, "lth.networks.mlp cannot be built"),
    ],
)
def test_what_cannot_be_built_is_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        build(wrong)


@pytest.mark.parametrize(
    "network",
    [
        {**MLP, "_target_": "os.system"},
        {**MLP, "_target_": "lth.networks.from_config.build"},
        {**MLP, "widths": [{"_target_": "os.system", "command": "true"}]},
        {**MLP, "options": {"norm": {"_target_": "os.system", "command": "true"}}},
    ],
)
def test_a_ticket_names_networks_of_lth_only_at_any_depth(network):
    with pytest.raises(ValueError, match="which is not lth's"):
        described({"network": network})


def test_a_tickets_own_network_is_taken():
    assert described({"network": MLP}) == MLP
    assert described({}) is None
    assert image_shape(MLP) == (1, 8, 8)


def test_the_first_description_that_says_the_shape_of_an_image_counts():
    own = {"_target_": "mine.Net", "channels": 5}
    assert image_shape(own, MLP) == (1, 8, 8)
    with pytest.raises(ValueError, match=r"configuration of mine.Net lacks the keys channels and image_size"):
        image_shape(own)


def test_a_file_that_takes_values_from_other_files_is_refused(tmp_path):
    (tmp_path / "model.yaml").write_text("_target_: mine.Net\nclasses: ${dataset.classes}\nwidth: 3\n")
    with pytest.raises(ValueError, match=r"model.yaml takes classes from other files; give the config.yaml of a run"):
        described({}, tmp_path / "model.yaml")
