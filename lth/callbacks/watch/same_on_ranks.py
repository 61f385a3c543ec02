"""Ranks that begin a level differently would train different networks, and nothing would say so."""

from pytorch_lightning import Callback, LightningModule, Trainer

from lth.pruning.masks import fingerprint
from lth.training.ranks import assert_same, assert_same_training, distributed


class SameOnRanks(Callback):
    """Fails unless all ranks begin, or resume, a level with the same weights, statistics and masks."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if distributed():
            assert_same_training("at the level's start", pl_module, pl_module.masks)
            assert_same("buffers at the level's start", fingerprint(dict(pl_module.net.named_buffers())))
