"""Batch-norm statistics at a level's start: carried over, reset, or measured anew."""

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from lth.callbacks.prune import ScoringData
from lth.modules.ranks import broadcast_
from lth.plan import Level
from lth.pruning.masks import zero_


class BatchNorm(Callback):
    """Resets the running statistics (`reset`), then measures them over `batches` un-augmented training batches.

    With neither, a ticket is trained from the statistics of the search that found it.
    """

    def __init__(self, level: Level, reset: bool = False, batches: int = 0):
        if batches < 0:
            raise ValueError(f"bn_batches {batches} must be 0 or more")
        self.level, self.reset, self.batches = level, reset, batches

    @torch.no_grad()
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        norms = [m for m in pl_module.net.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
        if trainer.ckpt_path or not norms or not (self.reset or self.batches):
            return
        for norm in norms:
            norm.reset_running_stats()
        if self.batches:
            zero_(pl_module.masks.weights(pl_module.net), list(pl_module.masks.values()))
            momenta = [norm.momentum for norm in norms]
            for norm in norms:
                norm.momentum = None  # a plain mean over the batches
            pl_module.net.train()
            where = pl_module.device, pl_module.dtype
            for x, _ in ScoringData(trainer.datamodule, 0, self.level.index, *where).draw(self.batches):
                pl_module.net(x)
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum
        broadcast_(list(pl_module.net.buffers()))
