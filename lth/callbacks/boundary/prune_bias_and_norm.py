"""Prunes the bias and the batch-norm parameters of outputs whose weights are all pruned."""

from pytorch_lightning import Callback, LightningModule, Trainer

from lth.datamodules.scoring import image_shape_of
from lth.plan import Level
from lth.pruning.structured.attached import Attached


class PruneBiasAndNorm(Callback):
    """Makes `KeptWeights` set to zero the bias and batch-norm parameters of removed outputs (`KeptWeights.attached`).

    level: the level being trained
    active: False does nothing
    """

    def __init__(self, level: Level, active: bool = True):
        self.level, self.active = level, active

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.active:
            shape = image_shape_of(trainer.datamodule)
            pl_module.attached = Attached.find(pl_module.net, pl_module.masks, shape)
