"""Stops a level whose training loss has become NaN or infinite."""

import math

from pytorch_lightning import Callback, LightningModule, Trainer

from lth.plan import Level


class StopOnNonFinite(Callback):
    """Raises FloatingPointError at the end of an epoch whose training loss is NaN or infinite, before it is saved.

    level: the level being trained
    """

    def __init__(self, level: Level):
        self.level = level

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        loss = pl_module.summary().get("train_loss", 0.0)
        if not math.isfinite(loss):
            last = self.level.folder / "last.ckpt"
            kept = f"the last good checkpoint is {last}" if last.is_file() else "nothing of this level was saved before"
            raise FloatingPointError(
                f"the training loss of level {self.level.index} ({self.level.name}) became {loss} in epoch "
                f"{trainer.current_epoch}; {kept}. A lower recipe.lr, recipe.clip=1 or a warm-up "
                "(recipe.schedule.warmup) usually helps"
            )
