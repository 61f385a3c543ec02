"""Which weights masks may cover: every conv and linear weight once, narrowed by patterns, each of which must match."""

import pytest
import torch
from torch import nn

from lth.networks import resnet20
from lth.pruning import Masks, prunable


class Residual(nn.Module):
    """Names like those of a residual network."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3)
        self.bn1 = nn.BatchNorm2d(4)
        self.layer1 = nn.Sequential(nn.ModuleDict({"conv1": nn.Conv2d(4, 4, 3), "shortcut": nn.Conv2d(4, 4, 1)}))
        self.layer2 = nn.Sequential(nn.ModuleDict({"conv1": nn.Conv2d(4, 4, 3), "downsample": nn.Conv2d(4, 4, 1)}))
        self.norm = nn.LayerNorm(4)
        self.fc = nn.Linear(4, 2)


ALL = [
    "conv1.weight",
    "layer1.0.conv1.weight",
    "layer1.0.shortcut.weight",
    "layer2.0.conv1.weight",
    "layer2.0.downsample.weight",
    "fc.weight",
]


@pytest.mark.parametrize(
    ("include", "expected"),
    [
        (["*"], ALL),
        (["conv1.weight"], ["conv1.weight"]),  # not layer1.0.conv1.weight
        (["conv1"], ["conv1.weight"]),
        (["*.conv1"], ["layer1.0.conv1.weight", "layer2.0.conv1.weight"]),
        (["layer2.*"], ["layer2.0.conv1.weight", "layer2.0.downsample.weight"]),
        (["layer?.0.conv1"], ["layer1.0.conv1.weight", "layer2.0.conv1.weight"]),
        (["layer[13].*"], ["layer1.0.conv1.weight", "layer1.0.shortcut.weight"]),
        (["fc", "conv1"], ["conv1.weight", "fc.weight"]),  # in the network's order
        (["fc", "*fc*"], ["fc.weight"]),
        (["@first"], ["conv1.weight"]),
        (["@head"], ["fc.weight"]),
        (["@shortcuts"], ["layer1.0.shortcut.weight", "layer2.0.downsample.weight"]),
        (["@first", "layer1.0.conv1.weight", "@head"], ["conv1.weight", "layer1.0.conv1.weight", "fc.weight"]),
    ],
)
def test_patterns_are_globs_on_whole_names_of_weights_and_layers(include, expected):
    assert list(prunable(Residual(), include)) == expected
    if expected != ALL:
        assert list(prunable(Residual(), exclude=include)) == [name for name in ALL if name not in expected]


def test_exclusion_wins_over_inclusion():
    assert list(prunable(Residual(), ["layer1.*"], ["*.shortcut"])) == ["layer1.0.conv1.weight"]


@pytest.mark.parametrize("pattern", ["conv", "CONV1", "conv1.*.weight", "layer1", "bn1", "fc.bias", "weight", ""])
@pytest.mark.parametrize("where", ["include", "exclude"])
def test_a_pattern_that_matches_nothing_is_an_error_with_the_list(pattern, where):
    with pytest.raises(ValueError, match="matches no prunable weight") as error:
        prunable(Residual(), **{where: [pattern] if where == "exclude" else ["*", pattern]})
    assert repr(pattern) in str(error.value)
    assert all(name in str(error.value) for name in ALL)


@pytest.mark.parametrize("where", ["include", "exclude"])
def test_an_unknown_name_with_an_at_sign_is_an_error_with_the_valid_ones(where):
    with pytest.raises(ValueError, match=r"pattern '@last': .* one of @first, @head, @shortcuts"):
        prunable(Residual(), **{where: ["@last"]})


def test_excluding_everything_is_an_error():
    with pytest.raises(ValueError, match="leave nothing to prune"):
        prunable(Residual(), exclude=["*"])


def test_a_network_without_weights_to_prune_is_an_error():
    with pytest.raises(ValueError, match="Sequential has no conv or linear weight to prune"):
        prunable(nn.Sequential(nn.BatchNorm2d(3), nn.ReLU()))


def test_normalisation_biases_and_embeddings_are_never_covered():
    net = nn.Sequential(
        nn.Embedding(5, 3),
        nn.Conv1d(2, 3, 3),
        nn.Conv3d(2, 3, 3),
        nn.BatchNorm2d(3),
        nn.GroupNorm(1, 3),
        nn.InstanceNorm1d(3, affine=True),
        nn.PReLU(),
        nn.Linear(3, 2),
    )
    assert list(prunable(net)) == ["1.weight", "2.weight", "7.weight"]


def test_a_layer_alone_is_a_network():
    assert list(prunable(nn.Linear(3, 2))) == ["weight"]


def test_attentions_packed_projection_is_covered():
    attention = nn.Sequential(nn.MultiheadAttention(8, 2), nn.Linear(8, 2))
    assert list(prunable(attention)) == ["0.in_proj_weight", "0.out_proj.weight", "1.weight"]
    assert list(prunable(attention, ["0"])) == ["0.in_proj_weight"]


def test_attentions_separate_projections_are_covered():
    attention = nn.MultiheadAttention(8, 2, kdim=4, vdim=6, add_bias_kv=True)
    assert list(prunable(attention)) == ["q_proj_weight", "k_proj_weight", "v_proj_weight", "out_proj.weight"]


def test_tied_weights_are_counted_once():
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2))
    net[1].weight = net[0].weight
    assert list(prunable(net)) == ["0.weight", "2.weight"]
    assert Masks.ones(net).total == 16 + 8
    shared = nn.Sequential(layer := nn.Linear(4, 4), layer)
    assert Masks.ones(shared).total == 16


def test_subclasses_of_layers_are_layers():
    class Special(nn.Conv2d):
        pass

    assert list(prunable(nn.Sequential(Special(2, 2, 1)))) == ["0.weight"]


@pytest.mark.parametrize(
    ("exclude", "total", "layers"),
    [
        ([], 270_896, 22),
        (["@first", "@head"], 269_824, 20),
        (["@first", "@head", "@shortcuts"], 269_824 - 16 * 32 - 32 * 64, 18),
        (["conv1.weight", "classifier.weight"], 269_824, 20),
    ],
)
def test_resnet20s_scopes_have_the_published_counts(exclude, total, layers):
    masks = Masks.ones(resnet20(10, 3, 32), exclude=exclude)
    assert (masks.total, len(masks)) == (total, layers)


def test_the_weights_are_the_networks_own():
    net = Residual()
    assert prunable(net)["fc.weight"] is net.fc.weight
    assert isinstance(prunable(net)["fc.weight"], torch.nn.Parameter)
