"""Steps in one loop: for every kind of method and way of training the bits are those of Lightning's own loop."""

from contextlib import nullcontext
from functools import partial
from pathlib import Path
from unittest.mock import patch

import pytest
import pytorch_lightning as pl
import torch

from lth.callbacks.watch.last_checkpoint import LastCheckpoint
from lth.experiment.build import Experiment
from lth.storage.checkpoint import load_checkpoint
from lth.storage.folder import RunFolder
from lth.training.step_loop import _plain_step, _StepLoop
from tests.support.harness import configuration, train, train_apart, usual
from tests.support.kinds import REPRESENTATIVES
from tests.support.left import curves, rows, state
from tests.support.tiers import engine_but

WAYS = {
    "momentum and clipping": ["recipe.clip=0.1"],
    "adamw": ["recipe/optimizer=adamw", "recipe.lr=0.01"],
    "average of the weights": ["recipe.ema=0.9"],
    "mixup and smoothing": ["recipe.mixup=0.3", "recipe.label_smoothing=0.1"],
    "float64": ["recipe.precision=64-true"],
    "bfloat16": ["recipe.precision=bf16-mixed"],
    "sam": ["recipe/optimizer=sam"],
    "schedule-free": ["recipe/optimizer=schedule_free_sgd", "recipe/schedule=schedule_free"],
    "accumulation": ["recipe.accumulate=2"],
    "an end within an epoch": ["recipe.epochs=null", "recipe.steps=10"],
    "no validation": ["dataset.val_size=0"],
}
TIMES = {"seconds", "epoch_seconds"}


def same(one: Path, other: Path) -> bool:
    """Whether weights, masks, Lightning's counters and the tables but for times are equal."""
    tables = [[_without_times(read(folder)) for read in (rows, curves)] for folder in (one, other)]
    return state(one) == state(other) and tables[0] == tables[1] and counters(one) == counters(other)


def counters(folder: Path) -> list[dict]:
    """What Lightning's loops have counted in each level, as checkpoints hold it."""
    found = sorted(folder.glob("level_*/last.ckpt"))
    return [load_checkpoint(path)["loops"]["fit_loop"] for path in found]


def _without_times(table: list[dict[str, str]]) -> list[dict[str, str]]:
    return [{key: value for key, value in row.items() if key not in TIMES} for row in table]


def both(tmp_path: Path, *overrides: str) -> bool:
    """Whether lth's loop and Lightning's leave the same; asserts that lth's was used, unless batches accumulate."""
    taken = []
    take = _StepLoop._take_steps
    with patch.object(_StepLoop, "_take_steps", lambda self, fetcher: (taken.append(1), take(self, fetcher))):
        train(tmp_path / "ours", *overrides)
    with patch.object(_StepLoop, "_applies", lambda self, fetcher: False):
        train(tmp_path / "theirs", *overrides)
    assert bool(taken) != ("recipe.accumulate=2" in overrides)
    return same(tmp_path / "ours", tmp_path / "theirs")


@pytest.mark.slow
@pytest.mark.parametrize("method", engine_but(REPRESENTATIVES, "wr", "rigl", "str_gradual", "slimming", "gem_miner"))
def test_every_kind_of_method_has_the_bits_of_lightnings_loop(method: str, tmp_path: Path):
    assert both(tmp_path, *usual(method, tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("how", WAYS.values(), ids=list(WAYS))
def test_every_way_of_training_has_the_bits_of_lightnings_loop(how: list[str], tmp_path: Path):
    pytest.importorskip("schedulefree" if "schedule" in how[0] else "pytorch_optimizer" if "sam" in how[0] else "torch")
    assert both(tmp_path, "method=rigl", "sparsity.density=0.3", "method.every=2", *how)


@pytest.mark.slow
def test_a_checkpoint_of_one_loop_is_continued_by_the_other(tmp_path: Path):
    method = ["method=imp", "sparsity=list", "sparsity.densities=[0.5,0.3]"]
    train(tmp_path / "whole", *method)
    assert train_apart(tmp_path / "ours", method, ("step", 10)) == -9
    with patch.object(_StepLoop, "_applies", lambda self, fetcher: False):
        train(tmp_path / "ours", *method)
        assert train_apart(tmp_path / "theirs", method, ("step", 10)) == -9
    train(tmp_path / "theirs", *method)
    assert state(tmp_path / "ours") == state(tmp_path / "theirs") == state(tmp_path / "whole")


class Foreign(pl.Callback):
    """A callback that is not of lth."""

    def __init__(self):
        self.steps = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        pl_module.log("own", float(batch_idx))
        self.steps.append((trainer.global_step, batch_idx, float(outputs["loss"])))


class Quiet(Foreign):
    """One that never logs."""

    logs_in_steps = False

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.steps.append((trainer.global_step, batch_idx, float(outputs["loss"])))


@pytest.mark.slow
def test_a_callback_that_says_it_never_logs_leaves_the_steps_in_one_loop(tmp_path: Path):
    with patch.object(_StepLoop, "_take_steps", autospec=True, side_effect=_StepLoop._take_steps) as taken:
        built = Experiment(configuration(tmp_path), RunFolder(tmp_path))
        level = built.levels[0]
        module, boundary = built.build_level(level)
        built.load_start(level, module)
        quiet, saving = Quiet(), LastCheckpoint(tmp_path / "last.ckpt", level.steps)
        built.trainer(level, [*boundary, quiet, saving], []).fit(module, datamodule=built.data)
    assert taken.call_count == 3  # epochs
    assert [step for step, _, _ in quiet.steps] == list(range(1, level.steps + 1))


@pytest.mark.slow
def test_a_callback_of_ones_own_sees_every_step_and_may_log(tmp_path: Path):
    built = Experiment(configuration(tmp_path), RunFolder(tmp_path))
    level = built.levels[0]
    module, boundary = built.build_level(level)
    built.load_start(level, module)
    foreign, quiet = Foreign(), Quiet()
    trainer = built.trainer(level, [*boundary, foreign, quiet], [])
    trainer.fit(module, datamodule=built.data)
    assert foreign.steps == quiet.steps
    assert [step for step, _, _ in foreign.steps] == list(range(1, level.steps + 1))
    assert all(loss > 0 for *_, loss in foreign.steps)
    assert trainer.callback_metrics["own"] == torch.tensor(foreign.steps[-1][1])


def two_steps(optimizer_of, hook=None, plain=True):
    """The weights after two steps on a quadratic function."""
    weight = torch.nn.Parameter(torch.tensor([1.0, -2.0, 3.0]))
    optimizer = optimizer_of([weight])
    if hook is not None:
        optimizer.register_step_post_hook(hook)

    def closure():
        optimizer.zero_grad()
        loss = weight.square().sum()
        loss.backward()
        return loss

    with _plain_step(optimizer) if plain else nullcontext():
        assert ("step" in vars(optimizer)) == (plain and hook is None)
        for _ in range(2):
            optimizer.step(closure)
    assert "step" not in vars(optimizer)
    return weight.detach()


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam, torch.optim.LBFGS])
def test_a_step_without_torchs_wrapper_computes_the_same(optimizer):
    momentum = {"momentum": 0.9, "weight_decay": 0.1} if optimizer is torch.optim.SGD else {}
    of = partial(optimizer, lr=0.1, **momentum)
    assert torch.equal(two_steps(of), two_steps(of, plain=False))


def test_an_optimizer_with_a_hook_steps_as_torch_does():
    called = []
    two_steps(partial(torch.optim.SGD, lr=0.1), lambda *_: called.append(1))
    assert called == [1, 1]
