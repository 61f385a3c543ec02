"""Checks that all ranks start a level from the same state. DDP does not check it and would train different networks."""

from pytorch_lightning import Callback, LightningModule, Trainer

from lth.callbacks.within.keep_pruned import masked_module
from lth.training.ranks import assert_same_training


class SameOnRanks(Callback):
    """Raises an error unless all ranks start or resume a level with equal weights, buffers and masks."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        module = masked_module(trainer, pl_module, prunes=False)
        assert_same_training("at the level's start", pl_module, module.masks, buffers=module.net)
