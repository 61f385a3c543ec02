"""Stops a level whose loss is no longer a number."""

import math

from pytorch_lightning import Callback, LightningModule, Trainer

from lth.plan import Level


class StopOnNonFinite(Callback):
    """Raises FloatingPointError at the end of an epoch with a NaN or infinite training loss, before it is saved."""

    def __init__(self, level: Level):
        self.level = level

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        loss = pl_module.summary().get("train_loss", 0.0)
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"the training loss of level {self.level.index} ({self.level.name}) became {loss} in epoch "
                f"{trainer.current_epoch}; the last good checkpoint is kept in {self.level.folder}. "
                "A lower recipe.lr, recipe.clip=1 or warm-up usually helps"
            )
