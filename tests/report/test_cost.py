"""What a training step costs, counted: dispatched operations and host synchronisations, which no noisy clock blurs."""

from collections import Counter

import pytest
import pytorch_lightning as pl
import torch
from torch.nn.functional import cross_entropy
from torch.utils._python_dispatch import TorchDispatchMode

from lth.experiment.build import Experiment
from lth.plan import Level
from lth.storage.folder import RunFolder
from tests.support.compiler import NEEDS_COMPILER
from tests.support.harness import configuration, train
from tests.support.tiers import engine_but

pytestmark = pytest.mark.slow

MODELS = {"mlp": ["model=mlp", "model.widths=[24,16]"], "resnet20": ["model=resnet20"]}
BY_TIER = engine_but(MODELS, "mlp")


class Count(TorchDispatchMode):
    """Counts the operations that reach the dispatcher."""

    def __init__(self):
        super().__init__()
        self.ops: Counter = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.ops[str(func)] += 1
        return func(*args, **(kwargs or {}))

    @property
    def total(self) -> int:
        return sum(self.ops.values())


class CountSteps(pl.Callback):
    """Counts the operations of each step, from `on_train_batch_start` to `on_train_batch_end`."""

    def __init__(self):
        self.steps: list[Counter] = []
        self._mode: Count | None = None

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self._mode = Count()
        self._mode.__enter__()

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        assert self._mode is not None
        self._mode.__exit__(None, None, None)
        self.steps.append(self._mode.ops)


def experiment(tmp_path, *overrides: str) -> Experiment:
    return Experiment(configuration(tmp_path, *overrides), RunFolder(tmp_path))


def lightning_step(tmp_path, *overrides: str) -> Counter:
    """The operations of the third step of a level: the first one also allocates optimizer state."""
    built = experiment(tmp_path, *overrides)
    counting = CountSteps()
    level: Level = built.levels[0]
    module, boundary = built.build_level(level)
    trainer = built.trainer(level, [*boundary, counting], [])
    trainer.fit(module, datamodule=built.data)
    return counting.steps[2]


def plain_step(tmp_path, *overrides: str) -> Counter:
    """The operations of forward, loss, backward and optimizer step, written by hand on the same network."""
    built = experiment(tmp_path, *overrides)
    optimizer = built.recipes["train"].build(built.net, set(built.masks))
    built.data.setup("fit")
    batches = iter(built.data.train_dataloader())
    for _ in range(3):
        x, y = next(batches)
        with Count() as mode:
            loss = cross_entropy(built.net(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return mode.ops


@pytest.mark.parametrize("model", BY_TIER)
def test_a_step_takes_at_most_15_operations_more_than_a_hand_written_loop(model, tmp_path):
    ours, plain = lightning_step(tmp_path, *MODELS[model]), plain_step(tmp_path, *MODELS[model])
    extra = ours - plain
    print(sum(extra.values()), dict(extra))
    assert ours.total() - plain.total() <= 15


@pytest.mark.parametrize("model", BY_TIER)
def test_masks_add_at_most_two_operations_whatever_the_network(model, tmp_path):
    pruned = "support=uniform", "support.density=0.5"
    masked, dense = (lightning_step(tmp_path, *MODELS[model], *support) for support in (pruned, ()))
    train_stage = "method.stages.train"
    unmasked = f"{train_stage}.module._target_=lth.modules.classifier.Classifier", f"{train_stage}.callbacks.prune=null"
    plain = lightning_step(tmp_path, *MODELS[model], *unmasked)
    assert (masked - plain).total() <= 2
    assert masked["aten._foreach_mul_.List"] == 2
    assert dense == plain  # a mask of ones is multiplied with nowhere


@pytest.mark.parametrize("option", ["recipe.clip=1", "recipe.mixup=0.5", "recipe.ema=0.9", "recipe.augment.crop=1"])
def test_no_training_step_waits_for_the_device(option, tmp_path):
    """Neither the step nor fetching its batch reads a value back (`.item()` and the like)."""
    built = experiment(tmp_path, option)
    level = built.levels[0]
    module, boundary = built.build_level(level)
    counting = CountBetweenSteps()
    built.trainer(level, [*boundary, counting], []).fit(module, datamodule=built.data)
    assert len(counting.steps) >= 6
    assert not any(step["aten._local_scalar_dense.default"] for step in counting.steps)


class CountBetweenSteps(CountSteps):
    """Counts from one step's end to the next one's, within an epoch: fetching the batch is included."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        pass

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if self._mode is not None:
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
            self._mode = None
        if not trainer.is_last_batch:
            super().on_train_batch_start(trainer, pl_module, batch, batch_idx)


@NEEDS_COMPILER
@pytest.mark.engine
def test_changing_masks_compiles_nothing_anew(tmp_path, monkeypatch):
    from torch._dynamo.utils import counters

    graphs = []
    finish = RunFolder.finish

    def counted(self, level, outcome):
        graphs.append(counters["stats"]["unique_graphs"])
        finish(self, level, outcome)

    monkeypatch.setattr(RunFolder, "finish", counted)
    torch.compiler.reset()  # graphs of earlier tests of the process would be used again
    counters.clear()
    train(tmp_path, "compile=true", "sparsity=list", "sparsity.densities=[0.5,0.3]")
    assert graphs[0] >= 1
    assert graphs == graphs[:1] * 3
