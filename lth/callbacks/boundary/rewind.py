"""Rewinds weights, and batch-norm statistics, to their values at an earlier step of level 0."""

from typing import ClassVar

from pytorch_lightning import LightningModule, Trainer

from lth.callbacks._after_step import AfterStep
from lth.callbacks.within.keep_pruned import masked_module
from lth.plan import Level, steps_of
from lth.storage.checkpoint import copy_state_, load_checkpoint, write_checkpoint

_BN_STATS = ("rewind", "keep")
_OPTIMIZER = ("fresh", "rewind")


class Rewind(AfterStep):
    """Saves weights and optimizer state at the rewind point in level 0 and restores them when a later level starts.

    level: the level being trained
    point: 0, "500it", "2ep" or "5%" of level 0; None = nothing is rewound (learning-rate rewinding, arXiv 2003.02389)
    bn_stats: `rewind` restores batch norm's running statistics too, `keep` leaves the trained ones
    optimizer: `fresh` starts later levels with empty optimizer state, `rewind` with that of the rewind point
    name: name of the file in the run's folder; a method with several rewind points needs several names

    Raises ValueError for other values of bn_stats and optimizer, and for a point after the end of level 0.
    Sources: arXiv 1803.03635 (point 0), 1903.01611 (later points).
    """

    acts_with: ClassVar = {"bn_stats": "point", "optimizer": "point"}

    def __init__(
        self,
        level: Level,
        point: int | str | None,
        bn_stats: str = "rewind",
        optimizer: str = "fresh",
        name: str = "rewind",
    ):
        if bn_stats not in _BN_STATS or optimizer not in _OPTIMIZER:
            raise ValueError(
                f"bn_stats {bn_stats!r} is not one of {_BN_STATS}, or optimizer {optimizer!r} not one of {_OPTIMIZER}"
            )
        self.level, self.bn_stats, self.optimizer = level, bn_stats, optimizer
        self.active = point is not None
        self.step = steps_of(point, level.budget) if level.first else None  # later levels may be shorter than level 0
        self.path = level.folder.parent / f"{name}.ckpt"

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.ckpt_path or not self.active:
            return
        if not self.level.first:
            self._restore(trainer, pl_module)
        elif self.step == 0:
            self._save(trainer, pl_module)

    def after_step(self, trainer: Trainer, pl_module: LightningModule, step: int) -> None:
        if self.level.first and step == self.step:
            self._save(trainer, pl_module)

    def _save(self, trainer: Trainer, pl_module: LightningModule) -> None:
        module = masked_module(trainer, pl_module, prunes=False)
        module.to_average_()
        if trainer.is_global_zero:
            optimizer = trainer.optimizers[0].state_dict()
            write_checkpoint(self.path, {"weights": module.net.state_dict(), "optimizer": optimizer})

    def _restore(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert self.path.is_file(), f"level 0 finished without the rewind point {self.path}"
        net = masked_module(trainer, pl_module, prunes=False).net
        saved = load_checkpoint(self.path)
        keep = {name for name, _ in net.named_buffers()} if self.bn_stats == "keep" else set()
        copy_state_(net, {k: v for k, v in saved["weights"].items() if k not in keep})
        if self.optimizer == "rewind":
            trainer.optimizers[0].load_state_dict(saved["optimizer"])
