"""Per-epoch curves to every logger, against the true global step of the whole experiment."""

import time
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from lth.plan import Level


class Curves(Callback):
    """Logs one row an epoch and keeps the last one, which the checkpoint carries.

    offset: optimizer steps of the levels before this one, so that the step rises through the whole experiment.
    """

    def __init__(self, level: Level, offset: int):
        self.level, self.offset = level, offset
        self.last: dict[str, float] = {}
        self.best: dict[str, float] = {}
        self._before, self._started = 0.0, time.monotonic()

    @property
    def seconds(self) -> float:
        """Wall time spent in this level, interrupted attempts up to their last checkpoint included."""
        return self._before + time.monotonic() - self._started

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for logger in trainer.loggers:
            if hasattr(logger, "truncate"):  # an interrupted run may have written rows that now come again
                logger.truncate(self.offset + trainer.global_step)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        metrics = pl_module.summary()
        if not metrics:  # this epoch was trained, and logged, before the run was interrupted
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
        for logger in trainer.loggers:
            logger.log_metrics(row, step=row["step"])

    def state_dict(self) -> dict[str, Any]:
        return {"last": self.last, "best": self.best, "seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.last, self.best, self._before = state_dict["last"], state_dict["best"], state_dict["seconds"]
