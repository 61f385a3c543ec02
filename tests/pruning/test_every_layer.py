"""Networks with recurrent, transposed and other layers: methods prune them exactly and compute with what they kept."""

import copy
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.functional import linear
from torch.nn.utils import parametrizations, prune
from torch.utils.checkpoint import checkpoint

from lth.analysis.layers import layer_table, uses_per_image
from lth.callbacks.watch.layer_report import _outside
from lth.experiment._standardised import standardised
from lth.experiment.build import Experiment
from lth.pruning import Masks
from lth.pruning.repair import add, dead_units, rewire
from lth.storage.checkpoint import load_checkpoint
from lth.storage.folder import RunFolder
from lth.tickets import Ticket
from lth.tickets.formats.content import read
from lth.tickets.formats.scope import complete
from tests.support.harness import configuration, train, usual
from tests.support.left import rows, state

IMAGE = 1, 8, 8


class Reads(nn.Module):
    """Reads an image row by row."""

    def __init__(self, layer, width, classes):
        super().__init__()
        self.layer, self.fc = layer, nn.Linear(width, classes)

    def forward(self, x):
        return self.fc(self.layer(x[:, 0])[0][:, -1])


class Multiplies(nn.Module):
    """Multiplies by a matrix of its own, and adds an embedding of the position."""

    def __init__(self, classes):
        super().__init__()
        self.matrix, self.place = nn.Parameter(torch.randn(16, 8) / 4), nn.Embedding(8, 16)
        self.fc = nn.Linear(16, classes)

    def forward(self, x):
        return self.fc((linear(x[:, 0], self.matrix) + self.place(torch.arange(8, device=x.device))).relu().mean(1))


class Again(nn.Module):
    """A perceptron whose first layers are computed again in the backward pass."""

    def __init__(self, classes, how):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, 24), nn.ReLU(), nn.Linear(24, 16), nn.ReLU())
        self.fc, self.how = nn.Linear(16, classes), how

    def forward(self, x):
        if self.how is None:
            return self.fc(self.body(x))
        x = x.requires_grad_() if self.how else x  # the reentrant way needs an input that does
        return self.fc(checkpoint(self.body, x, use_reentrant=self.how))


def lstm(classes, **_):
    return Reads(nn.LSTM(8, 16, batch_first=True), 16, classes)


def gru(classes, **_):
    return Reads(nn.GRU(8, 16, num_layers=2, batch_first=True, bidirectional=True), 32, classes)


def transposed(classes, **_):
    layers = nn.Conv2d(1, 4, 2, stride=2), nn.ReLU(), nn.ConvTranspose2d(4, 6, 2, stride=2, groups=2), nn.ReLU()
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, classes))


def spectral(classes, **_):
    return nn.Sequential(
        nn.Flatten(), parametrizations.spectral_norm(nn.Linear(64, 16)), nn.ReLU(), nn.Linear(16, classes)
    )


def own(classes, **_):
    return Multiplies(classes)


def again(classes, **_):
    return Again(classes, False)


def again_reentrant(classes, **_):
    return Again(classes, True)


def once(classes, **_):
    return Again(classes, None)


def weight_normed(classes, **_):
    return nn.Sequential(nn.Flatten(), parametrizations.weight_norm(nn.Linear(64, 8)), nn.Linear(8, classes))


def pruned(classes, **_):
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.Linear(8, classes))
    prune.random_unstructured(net[1], "weight", 0.5)
    return net


def given(network: str, *overrides: str) -> tuple[str, ...]:
    include = ("prunable.include=['*',matrix,place]",) if network == "own" else ()
    return (f"model._target_={__name__}.{network}", *include, *overrides)


def levels(folder: Path) -> list[dict]:
    return [load_checkpoint(path) for path in sorted(folder.glob("level_*/last.ckpt"))]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "method"),
    [
        *(("lstm", method) for method in ("imp", "snip", "synflow", "grasp", "rigl", "gmp", "str", "edge_popup")),
        *(("gru", method) for method in ("imp", "edge_popup")),
        *(("transposed", method) for method in ("imp", "erk", "synflow", "edge_popup", "surgery")),
        *(("spectral", method) for method in ("imp", "snip", "edge_popup")),
        *(("own", method) for method in ("imp", "snip", "edge_popup")),
    ],
)
def test_a_method_prunes_every_layer_exactly(network: str, method: str, tmp_path: Path):
    overrides = [o for o in usual(method, tmp_path) if method != "surgery" or "criterion" not in o]
    train(tmp_path / "run", *given(network, *overrides, "recipe.epochs=2"))
    (*_, last), (*_, row) = levels(tmp_path / "run"), rows(tmp_path / "run")
    kept, total = (sum(int(m.sum() if what else m.numel()) for m in last["masks"].values()) for what in (True, False))
    assert kept == int(row["kept"]) < total
    if method not in ("surgery", "str"):
        assert kept / total == pytest.approx(0.3, abs=0.01 if method == "edge_popup" else 0.5 / total)
    weights = {**{k.removeprefix("net."): v for k, v in last["state_dict"].items()}, **last["found"]}
    if method not in ("edge_popup", "str"):
        assert all(not weights[name][~mask].any() for name, mask in last["masks"].items())
    assert Ticket.load(next((tmp_path / "run").glob("level_*/ticket.safetensors"))).total == total


@pytest.mark.slow
@pytest.mark.parametrize("network", ["lstm", "gru", "transposed", "spectral", "own"])
def test_a_search_computes_with_the_weights_that_it_chooses(network: str, tmp_path: Path):
    cfg = configuration(tmp_path, *given(network, "method=edge_popup", "sparsity.density=0.3"))
    experiment = Experiment(cfg, RunFolder(tmp_path))
    module, _ = experiment.build_level(experiment.levels[0])
    experiment.load_start(experiment.levels[0], module)
    module.on_fit_start()
    module.eval()
    x, plain = torch.rand(3, *IMAGE), copy.deepcopy(module.net).eval()
    chosen = module.final_masks()
    assert 0 < sum(int(mask.sum()) for mask in chosen.values()) < module.masks.total
    Masks({name: mask.float() for name, mask in chosen.items()}).apply_(plain)
    assert torch.equal(module(x), plain(x))
    assert not torch.equal(module(x), module.net(x))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["edge_popup", "gem_miner", "str", "surgery"])
def test_parts_that_are_computed_again_find_the_same_weights(method: str, tmp_path: Path):
    overrides = usual(method, tmp_path)
    for network in ("once", "again"):
        train(tmp_path / network, *given(network, *overrides))
    assert state(tmp_path / "again") == state(tmp_path / "once")


def test_reentrant_checkpointing_is_refused_where_the_weights_are_computed(tmp_path: Path):
    def build(method: str) -> Experiment:
        given_ = given("again_reentrant", f"method={method}", "sparsity.density=0.3")
        return Experiment(configuration(tmp_path / "run", *given_), RunFolder(tmp_path / "run"))

    with pytest.raises(ValueError, match=r"^model: Again .*use_reentrant=False"):
        build("edge_popup")
    build("snip")


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        ("lstm", {"layer.weight_ih_l0": 8, "layer.weight_hh_l0": 8, "fc.weight": 1}),
        ("transposed", {"0.weight": 16, "2.weight": 16, "6.weight": 1}),
    ],
)
def test_a_weight_is_used_at_every_step_or_position(network: str, expected: dict):
    assert uses_per_image(globals()[network](4), IMAGE) == expected


def test_multiply_adds_of_a_transposed_convolution_are_those_of_its_inputs():
    net = nn.Sequential(nn.ConvTranspose2d(2, 3, 3, stride=2))
    (row,) = layer_table(net, Masks.ones(net), (2, 4, 4))
    assert row["macs"] == 2 * 3 * 9 * 16


def test_dead_units_of_a_transposed_convolution_are_its_outputs_and_inputs():
    net = nn.Sequential(nn.ConvTranspose2d(4, 6, 2, groups=2))  # weight: inputs x outputs of a group
    masks = Masks.ones(net)
    masks["0.weight"][1] = 0  # an input
    masks["0.weight"][2:, 0] = 0  # an output of the second group
    assert dead_units(net, masks) == {"0.weight": (1, 1)}
    for repair in (rewire, add):
        repaired = repair(net, masks)
        assert repaired["0.weight"].shape == masks["0.weight"].shape
        assert dead_units(net, repaired)["0.weight"][0] == 0
    assert rewire(net, masks).kept == masks.kept


@pytest.mark.parametrize("network", ["lstm", "gru", "transposed", "spectral", "own"])
def test_none_of_these_transforms_its_weights(network: str):
    net = globals()[network](4)
    include = ["*", "matrix", "place"] if network == "own" else ["*"]
    assert standardised(net, Masks.ones(net, include), IMAGE) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "message"),
    [
        ("weight_normed", r"^1\.weight of this network is made by WeightNorm.*prunable\.exclude=\[1\]"),
        ("pruned", r"^1\.weight of this network is made by torch\.nn\.utils\.prune.*prune\.remove.*lth ticket import"),
    ],
)
def test_a_weight_that_other_parameters_make_is_refused_or_left_dense(network: str, message: str, tmp_path: Path):
    def build(*overrides: str) -> Experiment:
        return Experiment(configuration(tmp_path / "run", *given(network, *overrides)), RunFolder(tmp_path / "run"))

    with pytest.raises(ValueError, match=message):
        build("method=imp")
    assert build("method=imp", "prunable.exclude=['1']").masks.total == 32
    assert build("method=dense").masks.total == 32
    if network == "weight_normed":
        assert (
            build("method=imp", "prunable.include=['*',1.parametrizations.weight.original1]").masks.total == 64 * 8 + 32
        )


def test_the_share_that_no_mask_covers_is_said():
    net = Multiplies(4)
    assert _outside(net, Masks.ones(net)) == "masks leave out 80.0% of the elements of matrices: matrix, place.weight"
    assert _outside(net, Masks.ones(net, ["*", "matrix", "place"])) == ""


@pytest.mark.slow
def test_the_share_is_printed_before_training(tmp_path: Path, capsys):
    train(tmp_path / "run", *given("own", "prunable.include=['*']", "method=dense", "recipe.epochs=1"))
    assert "masks leave out 80.0% of the elements of matrices: matrix, place.weight" in capsys.readouterr().out


def test_masks_of_recurrent_layers_are_read_from_files(tmp_path: Path):
    net = lstm(4)
    masks = Masks.ones(net)
    masks["layer.weight_hh_l0"].view(-1)[::3] = 0
    Ticket(masks.bools(), net.state_dict()).save(tmp_path / "ticket.safetensors")
    found = read(tmp_path / "ticket.safetensors")
    assert complete(found.masks, found.weights).keys() == masks.keys()
