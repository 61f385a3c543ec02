"""Rewinding: weights (and batch-norm statistics) go back to an earlier step of level 0."""

from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from lth.plan import Level, steps_of
from lth.storage.atomic import save_atomically
from lth.storage.checkpoint import copy_state_

KEEP = ("rewind", "keep")
OPTIMIZER = ("fresh", "rewind")


class Rewind(Callback):
    """Saves level 0's state at the rewind point, by value, and puts it back at the start of every later level.

    point: 0, "500it", "2ep" or "5%" of level 0; null rewinds nothing (learning-rate rewinding, arXiv 2003.02389).
    bn_stats: `rewind` takes the running statistics along, `keep` leaves the trained ones. optimizer: `fresh`, or
    `rewind` to the momentum of the rewind point. name: of the file, where there are several points.
    Sources: arXiv 1803.03635 (point 0), 1903.01611 (later points).
    """

    def __init__(
        self,
        level: Level,
        point: int | str | None,
        bn_stats: str = "rewind",
        optimizer: str = "fresh",
        name: str = "rewind",
    ):
        if bn_stats not in KEEP or optimizer not in OPTIMIZER:
            raise ValueError(
                f"bn_stats {bn_stats!r} is not one of {KEEP}, or optimizer {optimizer!r} not one of {OPTIMIZER}"
            )
        self.level, self.bn_stats, self.optimizer = level, bn_stats, optimizer
        self.active = point is not None
        self.step = steps_of(point, level.budget) if level.first else None  # later levels may be shorter than level 0
        self.path = level.folder.parent / f"{name}.ckpt"
        self._saved = False

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.ckpt_path or not self.active:
            return
        if not self.level.first:
            self._restore(trainer, pl_module)
        elif self.step == 0:
            self._save(trainer, pl_module)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if self.level.first and self.step and trainer.global_step == self.step and not self._saved:
            self._save(trainer, pl_module)

    def _save(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._saved = True
        pl_module.to_average_()
        if trainer.is_global_zero:
            optimizer = trainer.optimizers[0].state_dict()
            save_atomically({"weights": pl_module.net.state_dict(), "optimizer": optimizer}, self.path)

    def _restore(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert self.path.is_file(), f"level 0 finished without the rewind point {self.path}"
        saved = torch.load(self.path, map_location=pl_module.device, weights_only=True)
        keep = {name for name, _ in pl_module.net.named_buffers()} if self.bn_stats == "keep" else set()
        copy_state_(pl_module.net, {k: v for k, v in saved["weights"].items() if k not in keep})
        if self.optimizer == "rewind":
            trainer.optimizers[0].load_state_dict(saved["optimizer"])
