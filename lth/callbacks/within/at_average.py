"""Switches a schedule-free optimizer to its averaged weights for validation, scoring and saving."""

from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from lth.callbacks._norm_statistics import measure_
from lth.plan import Level
from lth.pruning.prunable import batch_norms


class AtAverage(Callback):
    """Sets the weights to a schedule-free optimizer's average x for evaluation, and to y for training steps.

    The weights are x from the end of an epoch to the next training batch. Gradients are computed at y.

    level: the level being trained
    batches: number of training batches without augmentation over which batch-norm statistics are estimated at x,
        because those gathered in training belong to y

    Must be the first callback, so that all others see x from the epoch's end to the next batch. The switch happens
    whether or not a checkpoint is saved, so that a resumed run has the same rounding errors. Source: arXiv 2405.15682.
    """

    def __init__(self, level: Level, batches: int = 50):
        self.level, self.batches = level, batches
        self._trained = False

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        self._trained = True
        pl_module.to_training_()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._move(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._move(trainer, pl_module)

    def _move(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self._trained:
            return
        self._trained = False
        pl_module.to_average_()
        net, norms = pl_module.net, list(batch_norms(pl_module.net).values())
        if norms:
            modes = [(module, module.training) for module in net.modules()]
            net.eval()  # without dropout
            data = pl_module.scoring_data(0)
            measure_(net, norms, (x for x, _ in data.draw(self.batches)))
            for module, training in modes:
                module.training = training
