"""Ranks that begin a level differently would train different networks, and nothing would say so."""

from pytorch_lightning import Callback, LightningModule, Trainer

from lth.training.ranks import assert_same_training


class SameOnRanks(Callback):
    """Fails unless all ranks begin, or resume, a level with the same weights, statistics and masks."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert_same_training("at the level's start", pl_module, pl_module.masks, buffers=pl_module.net)
