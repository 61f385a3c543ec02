"""Half the weights start low: scores set anew by magnitude, early in a search among trained weights."""

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from lth.plan import Level
from lth.pruning.search.score_init import above_median


class RescoreByMagnitude(Callback):
    """At the start of epoch `epoch` of the search, counted from 0, scores become those of `above_median`.

    Published with epoch 1 (arXiv 2202.12002, warm Gem-Miner); null = never. What has frozen out stays out; scores of
    biases, and the optimizer's momentum, stay as they are.
    """

    def __init__(self, level: Level, epoch: int | None = None):
        epochs = -(-level.steps // level.budget.epoch)
        if epoch is not None and not 0 <= epoch < epochs:
            raise ValueError(f"method.drop_half={epoch} must be an epoch of the search, 0 to {epochs - 1}, or null")
        self.level, self.epoch = level, epoch

    @torch.no_grad()
    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.current_epoch != self.epoch:
            return
        masks = pl_module.masks
        found = above_median(masks.weights(pl_module.net), list(masks.values()))
        for score, value in zip(pl_module.scores, found, strict=False):  # after those of weights come the biases'
            score.copy_(value)
