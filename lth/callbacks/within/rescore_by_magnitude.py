"""Sets the scores of a search among trained weights from their magnitudes, early in the search."""

from collections.abc import Sequence

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from lth.plan import Level


class RescoreByMagnitude(Callback):
    """At the start of an epoch of the search, gives weights above the median magnitude the score 1, others 0.

    level: the level being trained
    epoch: epoch of the search, counted from 0; None = never. Warm Gem-Miner (arXiv 2202.12002) uses 1

    Weights that an event has excluded stay excluded. Scores of biases and the optimizer's momentum do not change.
    Raises ValueError for an epoch that the search does not have.
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
        found = _above_median(masks.weights(pl_module.net), list(masks.values()))
        for score, value in zip(pl_module.scores, found, strict=False):  # weights first, then biases
            score.copy_(value)


def _above_median(weights: Sequence[Tensor], allowed: Sequence[Tensor]) -> list[Tensor]:
    """Scores 1 where |weight| exceeds the median of all allowed weights of the network, else 0."""
    sizes = [weight.detach().abs() for weight in weights]
    active = torch.cat([size[mask.bool()] for size, mask in zip(sizes, allowed, strict=True)])
    median = active.median()  # the lower of the two middle values
    return [(size > median).to(size.dtype) for size in sizes]
