"""Outputs that lose their whole weight leave as a whole: with their bias, and with what batch norm adds to them."""

from pytorch_lightning import Callback, LightningModule, Trainer

from lth.datamodules.scoring import image_shape_of
from lth.plan import Level
from lth.pruning.structured.attached import Attached


class PruneBiasAndNorm(Callback):
    """Makes `KeptWeights` zero the bias and batch-norm parameters attached to removed outputs (`KeptWeights.attached`).

    active: false does nothing.
    """

    def __init__(self, level: Level, active: bool = True):
        self.level, self.active = level, active

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.active:
            shape = image_shape_of(trainer.datamodule)
            pl_module.attached = Attached.find(pl_module.net, pl_module.masks, shape)
