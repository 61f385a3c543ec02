"""Which weights masks may cover: every conv and linear weight once, narrowed by patterns, each of which must match."""

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from lth.networks import resnet20
from lth.pruning import Masks
from lth.pruning.prunable import prunable, reparametrised


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
    with pytest.raises(ValueError, match=r"pattern '@last': .* one of @first, @head, @body, @shortcuts"):
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


@pytest.mark.parametrize(
    ("layer", "names"),
    [
        (nn.LSTM(4, 3), ["weight_ih_l0", "weight_hh_l0"]),
        (nn.GRU(4, 3, num_layers=2), ["weight_ih_l0", "weight_hh_l0", "weight_ih_l1", "weight_hh_l1"]),
        (nn.RNN(4, 3, bidirectional=True), [f"weight_{k}_l0{d}" for d in ("", "_reverse") for k in ("ih", "hh")]),
        (nn.LSTM(4, 3, proj_size=2), ["weight_ih_l0", "weight_hh_l0", "weight_hr_l0"]),
        (nn.GRUCell(4, 3), ["weight_ih", "weight_hh"]),
        (nn.ConvTranspose2d(4, 3, 2), ["weight"]),
        (nn.Bilinear(4, 3, 2), ["weight"]),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_every_layer_that_multiplies_by_a_matrix_is_covered(layer, names):
    assert list(prunable(layer)) == names
    assert Masks.ones(layer).uncovered(layer) == {}


class Multiplies(nn.Module):
    """Has an embedding, and a matrix that it multiplies by itself."""

    def __init__(self):
        super().__init__()
        self.embedding, self.matrix, self.fc = nn.Embedding(5, 3), nn.Parameter(torch.rand(3, 3)), nn.Linear(3, 2)


@pytest.mark.parametrize(
    ("include", "names"),
    [
        (["*"], ["fc.weight"]),
        (["*", "matrix"], ["matrix", "fc.weight"]),
        (["embedding"], ["embedding.weight"]),
        (["*", "embedding.weight", "matrix"], ["matrix", "embedding.weight", "fc.weight"]),
    ],
)
def test_include_may_name_any_parameter_with_two_dimensions(include, names):
    net = Multiplies()
    assert sorted(prunable(net, include)) == sorted(names)
    left = {"embedding.weight": 15, "matrix": 9, "fc.weight": 6}
    assert Masks.ones(net, include).uncovered(net) == {name: n for name, n in left.items() if name not in names}


@pytest.mark.parametrize("pattern", ["fc.bias", "nothing"])
def test_include_names_no_biases(pattern):
    with pytest.raises(ValueError, match="matches no prunable weight"):
        prunable(Multiplies(), ["*", pattern])


@pytest.mark.parametrize("normed", [nn.utils.spectral_norm, nn.utils.parametrizations.spectral_norm])
def test_spectral_norm_is_covered_and_its_zeros_stay(normed):
    net = nn.Sequential(normed(nn.Linear(4, 3)), nn.Linear(3, 2))
    masks = Masks.ones(net)
    assert masks.total == 12 + 6
    (name, mask), *_ = masks.items()
    mask.view(-1)[::2] = 0
    masks.apply_(net)
    net(torch.rand(2, 4))
    assert torch.equal(net[0].weight == 0, mask == 0), name


@pytest.mark.parametrize(
    ("change", "how"),
    [
        (nn.utils.weight_norm, "weight norm"),
        (nn.utils.parametrizations.weight_norm, "WeightNorm"),
        (lambda layer: prune.random_unstructured(layer, "weight", 0.5), "torch.nn.utils.prune"),
        (nn.utils.parametrizations.orthogonal, "Orthogonal"),
    ],
)
def test_weights_that_other_parameters_make_are_named(change, how):
    net = nn.Sequential(change(nn.Linear(4, 3)), nn.Linear(3, 2))
    assert reparametrised(net) == {"0.weight": how}
    assert list(prunable(net)) == ["1.weight"]
    assert list(prunable(net, exclude=["0"])) == ["1.weight"]


def test_a_recurrent_layer_with_weight_norm_is_named():
    layer = nn.utils.parametrizations.weight_norm(nn.LSTM(4, 3), "weight_hh_l0")
    assert reparametrised(layer) == {"weight_hh_l0": "WeightNorm"}
    assert list(prunable(layer)) == ["weight_ih_l0"]
