"""Levels that lth trains, with what a reference needs to train them again: the start and every batch."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from lth.experiment.build import Experiment
from lth.storage.checkpoint import load_checkpoint
from tests.parity.plain import PlainMLP, Tensors, equal
from tests.support.moving import run_level

STEPS, LR, DECAY = 30, 0.1, 0.01
LEVEL = [f"recipe.lr={LR}", f"recipe.weight_decay={DECAY}", "recipe.epochs=null", f"recipe.steps={STEPS}"]
LEVEL += ["recipe/schedule=constant", "recipe.precision=64-true"]


class Start(pl.Callback):
    """Keeps weights and masks as they are before the first step, and the batch of every step."""

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self.weights = {name: p.detach().clone() for name, p in pl_module.net.named_parameters()}
        self.masks, self.batches = pl_module.masks.bools(), []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.batches.append((batch[0].clone(), batch[1].clone()))


def trained(folder: Path, *overrides: str) -> tuple[Experiment, Start, PlainMLP]:
    """A level of constant learning rate in float64 trained by lth, its start, and a plain network at that start."""
    start = Start()
    built = run_level(folder, *LEVEL, *overrides, watch=(start,))
    return built, start, PlainMLP(start.weights, start.masks)


def assert_same_end(built: Experiment, net: PlainMLP) -> None:
    """Masks and weights are equal to the last bit."""
    assert equal(dict(built.masks), net.masks)
    assert equal({name: p.detach() for name, p in built.net.named_parameters()}, net.used())


def after_level(folder: Path, index: int) -> tuple[Tensors, Tensors]:
    """The network's tensors, and the masks, with which a level ended."""
    (path,) = folder.glob(f"level_{index:02d}*/last.ckpt")
    saved = load_checkpoint(path)
    weights = {n.removeprefix("net."): w for n, w in saved["state_dict"].items() if n.startswith("net.")}
    return weights, saved["masks"]
