"""Keeps, resets or re-estimates batch-norm running statistics at the start of a level."""

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from lth.callbacks._norm_statistics import measure_
from lth.plan import Level
from lth.pruning.masks import zero_
from lth.pruning.prunable import batch_norms
from lth.training.ranks import broadcast_


class BatchNorm(Callback):
    """Resets or re-estimates the running statistics when a level starts.

    level: the level being trained
    reset: True resets them to zero mean and unit variance
    batches: number of training batches without augmentation over which they are estimated; 0 estimates nothing

    By default the statistics stay as the callbacks before this one leave them: those at the previous level's end, or
    at the rewind point (`Rewind` with `bn_stats=rewind`).
    Raises ValueError for a negative number of batches.
    """

    def __init__(self, level: Level, reset: bool = False, batches: int = 0):
        if batches < 0:
            raise ValueError(f"bn_batches {batches} must be 0 or more")
        self.level, self.reset, self.batches = level, reset, batches

    @torch.no_grad()
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        norms = list(batch_norms(pl_module.net).values())
        if trainer.ckpt_path or not norms or not (self.reset or self.batches):
            return
        for norm in norms:
            norm.reset_running_stats()
        if self.batches:
            zero_(pl_module.masks.weights(pl_module.net), list(pl_module.masks.values()))
            pl_module.net.train()
            measure_(pl_module.net, norms, (x for x, _ in pl_module.scoring_data(0).draw(self.batches)))
        broadcast_(list(pl_module.net.buffers()))
