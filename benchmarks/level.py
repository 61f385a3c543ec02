"""Training loops to time: a level as lth trains it, and a plain loop on the same network and batches."""

import io
import shutil
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from rich.console import Console
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks.clock import Lap
from lth.callbacks.watch.show_progress import ShowProgress
from lth.datamodules import ArrayLoader
from lth.experiment.build import Experiment
from lth.experiment.loop import Loop
from lth.modules import Recipe
from lth.plan import Level
from lth.pruning import Masks
from lth.storage.folder import RunFolder


class TimedLevel(Experiment):
    """The first level of an experiment, trained from the start in every turn, by lth or by a plain loop."""

    def __init__(self, cfg: DictConfig, folder: Path, lap: Lap):
        super().__init__(cfg, RunFolder(folder))
        self.lap = lap
        self.recipe = self.recipes["train"]

    @property
    def images(self) -> int:
        """Number of images in the timed steps."""
        return self.recipe.batch_size * (self.lap.last - self.lap.first)

    def by_lth(self) -> float:
        """Train the level as a run does; returns the seconds of the lap."""
        shutil.rmtree(self.levels[0].folder, ignore_errors=True)
        Loop(self).train_level(self.levels[0], [], ShowProgress(self.levels, Console(file=io.StringIO())))
        return self.lap.seconds

    def by_hand(self, way: type["PlainStep"], masks: Masks) -> float:
        """Train in a plain loop with steps of class `way`; returns the seconds of the lap."""
        step = way(self.fresh(), masks, self.recipe)
        for index, batch in enumerate(self.loader()):
            if self.lap.reach(index):
                break
            step(*batch)
        return self.lap.seconds

    def fresh(self) -> nn.Module:
        """A copy of the network on the device with the initial weights."""
        net = deepcopy(self.net)
        net.load_state_dict(self.initial)
        return net.to(self.lap.device)

    def loader(self) -> ArrayLoader:
        """The training batches of the level."""
        self.data.trainer = super().trainer(self.levels[0], [], [])
        return self.data.train_dataloader()

    def trainer(self, level: Level, callbacks: list[Any], loggers: list[Any]) -> pl.Trainer:
        """The level's trainer, which also records the batches in the lap."""
        return super().trainer(level, [*callbacks, TellLap(self.lap)], loggers)


class TellLap(pl.Callback):
    """Records in a lap which batch Lightning starts."""

    logs_in_steps = False
    reads_weights = False

    def __init__(self, lap: Lap):
        self.lap = lap

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, index: int) -> None:
        self.lap.reach(index)


class PlainStep:
    """A training step of a dense network in plain torch: forward, cross-entropy, backward, optimizer step."""

    def __init__(self, net: nn.Module, masks: Masks, recipe: Recipe):
        self.net, self.masks = net, masks
        self.optimizer = recipe.build(net, set(masks))
        self.bf16 = recipe.precision == "bf16-mixed"

    def __call__(self, x: Tensor, labels: Tensor) -> None:
        self.optimizer.zero_grad()
        self.loss(x, labels).backward()
        self.optimizer.step()

    def loss(self, x: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy of the batch."""
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.bf16):
            return cross_entropy(self.net(x), labels)
