"""Validates, tests, scores and saves at the average that a schedule-free optimizer keeps of the weights."""

from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from lth.callbacks.boundary.batch_norm import measure_
from lth.datamodules.scoring import ScoringData
from lth.plan import Level
from lth.pruning.prunable import batch_norms


class AtAverage(Callback):
    """Has the weights at the average x outside of training batches, and at y, where gradients are taken, in them.

    Comes first among callbacks, so that all others see x from the epoch's end to the next batch, whether or not a
    checkpoint is due: a resumed run then goes through the same roundings. Running statistics were gathered at y; they
    are measured anew at x over `batches` un-augmented training batches (fewer where there are fewer) before the
    network is evaluated. Source: arXiv 2405.15682.
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
            net.eval()  # dropout would make other statistics
            data = ScoringData(trainer.datamodule, 0, self.level.index, pl_module.device, pl_module.dtype)
            measure_(net, norms, (x for x, _ in data.draw(self.batches)))
            for module, training in modes:
                module.training = training
