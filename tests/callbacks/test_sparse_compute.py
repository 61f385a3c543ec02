"""Levels computed from kept values train as dense ones do, leave the same files, and resume to the same bits."""

import csv
import math
from types import SimpleNamespace

import pytest
import torch
from pytorch_lightning import Callback
from torch import nn
from torch.nn.functional import linear

from lth.callbacks import EMA, Regrow
from lth.callbacks.within._kept_layer import KeptLayer, sparse_layers
from lth.callbacks.within._sparse_times import faster_sparse
from lth.callbacks.within.sparse_compute import SparseCompute, _obstacle, _reads_weights
from lth.modules import KeptWeights, PenalisedWeights
from lth.storage.checkpoint import load_checkpoint
from tests.support.harness import train, train_apart
from tests.support.left import rows, state

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
PRUNED = ("method=random", "sparsity=one_shot", "sparsity.density=0.3", "method.plan._target_=lth.plan.single")
RECIPES = {
    "sgd": ("recipe.weight_decay=0.01", "recipe.clip=0.5", "recipe.ema=0.8"),
    "adamw": ("recipe/optimizer=adamw", "recipe.lr=0.01", "recipe.weight_decay=0.1", "recipe.accumulate=2"),
    "schedule_free": ("recipe/optimizer=schedule_free_sgd", "recipe/schedule=schedule_free", "recipe.lr=1"),
}


def layers(folder):
    """The column `compute` of layers.csv."""
    with (folder / "layers.csv").open(newline="") as file:
        return [row.get("compute") for row in csv.DictReader(file)]


def tensors(value, prefix=""):
    """The tensors of a checkpoint by their place in it."""
    if torch.is_tensor(value):
        return {prefix: value}
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return {name: t for key, item in items for name, t in tensors(item, f"{prefix}/{key}").items()}


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_level_in_float64_equals_the_dense_one_up_to_rounding(recipe, tmp_path):
    held = []

    class Look(Callback):
        reads_weights, logs_in_steps = False, False

        def on_train_batch_end(self, trainer, pl_module, *_):
            weight = pl_module.net.classifier.weight
            copies = [a for c in trainer.callbacks if isinstance(c, EMA) for a in c.average if a.ndim > 1]
            states = [v.ndim for s in trainer.optimizers[0].state.values() for v in s.values() if torch.is_tensor(v)]
            held.append((weight.ndim, max(states, default=0), len(copies)))

    given = (*PRUNED, *RECIPES[recipe], "recipe.precision=64-true")
    train(tmp_path / "dense", *given)
    with pytest.MonkeyPatch.context() as patch:
        init = SparseCompute.on_train_start
        patch.setattr(SparseCompute, "on_train_start", lambda s, t, m: (init(s, t, m), t.callbacks.append(Look()))[0])
        train(tmp_path / "sparse", *given, "compute=sparse")
    assert layers(tmp_path / "sparse") == ["sparse"] * 3
    assert layers(tmp_path / "dense") == [None] * 3
    # weights, optimizer state and averages hold no matrix; (1, 0, 0) comes from batches before the first optimizer step
    assert set(held) - {(1, 0, 0)} == {(1, 1, 0)}
    dense, sparse = (tensors(checkpoint(tmp_path / name)) for name in ("dense", "sparse"))
    assert dense.keys() == sparse.keys()
    for name, tensor in dense.items():
        assert torch.allclose(sparse[name].double(), tensor.double(), rtol=0, atol=1e-10), name
    names = [name for name in rows(tmp_path / "dense")[0] if name.endswith("accuracy")]
    assert [[r[n] for n in names] for r in rows(tmp_path / "dense")] == [
        [r[n] for n in names] for r in rows(tmp_path / "sparse")
    ]


def checkpoint(folder):
    """The checkpoint of the only level."""
    (path,) = folder.glob("level_*/last.ckpt")
    return load_checkpoint(path)


@pytest.mark.slow
def test_a_killed_run_ends_with_the_bits_of_an_undisturbed_one(tmp_path):
    # the rewind point lies within level 0; level 1 is killed in its third epoch
    given = ["method=imp", "method.rewind=2", "sparsity=list", "sparsity.densities=[0.3]", "recipe.ema=0.8"]
    given += ["compute=sparse", "recipe.clip=0.5"]
    assert train_apart(tmp_path / "killed", given, ("step", 22)) == -9
    for name in ("whole", "killed"):
        assert train_apart(tmp_path / name, given) == 0
    assert layers(tmp_path / "killed") == ["dense"] * 3 + ["sparse"] * 3 == layers(tmp_path / "whole")
    assert state(tmp_path / "killed") == state(tmp_path / "whole")


@pytest.mark.slow
def test_a_method_that_moves_masks_is_computed_densely_and_says_so(tmp_path, capsys):
    train(tmp_path, "method=rigl", "sparsity.density=0.3", "method.every=2", "compute=sparse")
    assert "computed densely: masks move, or whole weights are read: Regrow" in capsys.readouterr().out
    assert set(layers(tmp_path)) == {"dense"}


def trainer(**changes):
    """What a Trainer says of a level that can be computed from kept values, but for `changes`."""
    from pytorch_lightning.plugins.precision import Precision

    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))])
    usual = {"world_size": 1, "precision": "32-true", "precision_plugin": Precision(), "callbacks": []}
    return SimpleNamespace(**usual | {"optimizers": [optimizer]} | changes)


def test_the_obstacle_to_sparse_compute_is_named():
    class Own(Callback):
        pass

    module = object.__new__(KeptWeights)
    nn.Module.__init__(module)
    module.net, module._device = nn.Linear(2, 2), torch.device("cpu")
    assert _obstacle(trainer(), module) is None
    assert "2 processes" in _obstacle(trainer(world_size=2), module)
    assert "Adagrad" in _obstacle(trainer(optimizers=[torch.optim.Adagrad(module.parameters())]), module)
    assert "bf16" in _obstacle(trainer(precision="bf16-mixed", precision_plugin=None), module)
    assert "Own" in _obstacle(trainer(callbacks=[Own()]), module)
    module._device = torch.device("cuda", 0)
    assert "cuda" in _obstacle(trainer(), module)
    assert _reads_weights(object.__new__(PenalisedWeights))
    assert _reads_weights(object.__new__(Regrow))


def chosen(shapes, density, compiled=True, batch_size=128, positions=1, others=True):
    """Which layers of these shapes, by number, the model computes from kept values."""
    masks = {}
    for number, shape in enumerate(shapes):
        size = math.prod(shape)
        masks[str(number)] = (torch.arange(size) < density * size).view(shape)
    found = faster_sparse(masks, dict.fromkeys(masks, positions), batch_size, others, compiled)
    return [int(name) for name in found]


@pytest.mark.parametrize("compiled", [True, False])
def test_it_pays_for_large_layers_with_few_weights(compiled):
    assert chosen([(500, 500)], 0.05, compiled) == [0]
    assert chosen([(500, 500)], 0.3, compiled) == []  # too dense
    assert chosen([(30, 30)], 0.05, compiled) == []  # too small
    assert chosen([(500, 500), (10, 500), (30, 30)], 0.05, compiled) == [0]


def test_it_pays_for_small_layers_where_steps_then_need_no_mask():
    lenet = [(300, 784), (100, 300), (10, 100)]
    assert chosen(lenet, 0.05) == [0]
    assert chosen(lenet, 0.05, others=False) == [0, 1, 2]
    assert chosen(lenet, 0.3, others=False) == []
    assert chosen([(1024, 1024)], 0.2, batch_size=512, others=False) == []  # measured: slower


def test_it_pays_for_1x1_convolutions_of_large_images():
    wide = [(256, 64, 1, 1)]
    assert chosen(wide, 0.1, positions=64, batch_size=32) == [0]
    assert chosen(wide, 0.5, positions=64, batch_size=32) == []
    assert chosen(wide, 0.1, positions=16) == []
    assert chosen(wide, 0.1, positions=64, compiled=False) == []
    assert chosen([*wide, (500, 500)], 0.05, positions=16, batch_size=8, others=False) == [1]


class Borrowed(nn.Module):
    """A network that multiplies by the weight of a layer itself."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        return linear(self.one(x.flatten(1)), self.two.weight)


def test_a_weight_used_outside_of_its_layer_stays_a_matrix():
    net = Borrowed()
    before, compute = (
        net(torch.ones(1, 1, 2, 2)),
        SparseCompute(SimpleNamespace(index=0), (1, 2, 2), None, mode="sparse"),
    )
    module = SimpleNamespace(net=net, mask_in_steps=list)
    for name, done in (("one", True), ("two", False)):
        layer = KeptLayer(getattr(net, name), torch.ones(4, 4))
        assert compute._enter([layer], module) == done
        if done:
            assert net.one.weight.shape == (16,)
            assert net.state_dict()["one.weight"].shape == (4, 4)
            layer.leave()
        assert torch.allclose(net(torch.ones(1, 1, 2, 2)), before)
        assert getattr(net, name).weight.shape == (4, 4)


def test_shared_frozen_and_other_layers_are_no_candidates():
    class Own(nn.Linear):
        pass

    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), Own(2, 2), nn.Linear(2, 2), nn.Linear(2, 2))
    net[1].weight = net[0].weight
    net[3].weight.requires_grad_(False)
    net.extend([nn.Conv2d(2, 2, 3), nn.Conv2d(2, 2, 1, groups=2), nn.Conv2d(2, 2, 1, padding=1)])
    net.extend([nn.Conv2d(2, 2, 1, stride=2)])
    assert list(sparse_layers(net, [f"{index}.weight" for index in range(9) if index != 1])) == ["4.weight", "8.weight"]


@pytest.mark.slow
def test_1x1_convolutions_train_as_dense_ones_do(tmp_path):
    given = (*PRUNED, "model=resnet20", "recipe.precision=64-true", "recipe.epochs=1", "dataset.image_size=8")
    for name in ("dense", "sparse"):
        train(tmp_path / name, *given, f"compute={name}")
    assert layers(tmp_path / "sparse").count("sparse") == 3  # two shortcuts and the classifier
    dense, sparse = (tensors(checkpoint(tmp_path / name)) for name in ("dense", "sparse"))
    assert dense.keys() == sparse.keys()
    for name, tensor in dense.items():
        assert torch.allclose(sparse[name].double(), tensor.double(), rtol=0, atol=1e-10), name
