"""Logs one row of metrics per epoch, with the optimizer step counted over all levels."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from lth.plan import Level


class Curves(Callback):
    """Logs one row of metrics per epoch to every logger. The checkpoint holds the rows of the level.

    level: the level being trained
    offset: optimizer steps of all earlier levels, added to the step so that it rises over the whole experiment
    earlier: logged rows of earlier levels, as far as they exist
    """

    def __init__(self, level: Level, offset: int, earlier: Sequence[Mapping[str, Any]] = ()):
        self.level, self.offset, self.earlier = level, offset, list(earlier)
        self.rows: list[dict[str, Any]] = []
        self.last: dict[str, float] = {}
        self.best: dict[str, float] = {}
        self._before, self._started = 0.0, time.monotonic()

    @property
    def seconds(self) -> float:
        """Wall time spent in this level, including interrupted attempts up to their last checkpoint."""
        return self._before + time.monotonic() - self._started

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for logger in trainer.loggers:
            if hasattr(logger, "restore"):  # epochs after the last checkpoint are trained and logged again
                logger.restore(self.level.index, [*self.earlier, *self.rows], self.offset + trainer.global_step)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        metrics = pl_module.summary()
        if not metrics:  # after resuming at the end of an epoch that was already logged
            return
        if metrics.get("val_accuracy", -1.0) > self.best.get("val_accuracy", -1.0):
            self.best = {"val_accuracy": metrics["val_accuracy"], "epoch": trainer.current_epoch}
        self.last = dict(metrics)
        kept = pl_module.current_masks()
        row = {
            "level": self.level.index,
            "epoch": trainer.current_epoch,
            "step": self.offset + trainer.global_step,
            "density": sum(int(k.sum()) for k in kept.values()) / pl_module.masks.total,
            "lr": trainer.optimizers[0].param_groups[0]["lr"],
            **metrics,
            "seconds": self.seconds,
        }
        cycle = pl_module.cycle(trainer.global_step - 1)
        row |= {} if cycle is None else {"cycle": cycle}
        self.rows.append(row)
        for logger in trainer.loggers:
            logger.log_metrics(row, step=row["step"])

    def state_dict(self) -> dict[str, Any]:
        return {"last": self.last, "best": self.best, "seconds": self.seconds, "rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.last, self.best, self._before = state_dict["last"], state_dict["best"], state_dict["seconds"]
        self.rows = list(state_dict.get("rows", ()))  # checkpoints of earlier versions have none
