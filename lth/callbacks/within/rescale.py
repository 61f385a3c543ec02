"""Rescales the frozen weights of a search after every epoch so that the logits have a fitted scale."""

import math
from collections.abc import Callable
from typing import ClassVar

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from lth.plan import Level
from lth.training.ranks import sum_over_ranks


class Rescale(Callback):
    """After each epoch, fits one factor to the logits of the last batch and multiplies the weights by it.

    level: the level being trained
    active: False does nothing
    steps: SGD steps of the fit
    lr: learning rate of the fit
    mixup: the recipe's mixup, which must be 0 because mixed images have no single label

    The logged metrics of the epoch are those before rescaling. The learning rate of the rest of the level is divided
    by the factor.
    Source: arXiv 2210.02412.
    """

    acts_with: ClassVar = {"steps": "active", "lr": "active"}

    def __init__(self, level: Level, active: bool = False, steps: int = 20, lr: float = 0.1, mixup: float = 0.0):
        if not isinstance(active, bool):
            raise ValueError(f"method.scaling={active!r} is not one of (true, false)")
        if active and mixup:
            raise ValueError(f"method.scaling=true fits logits to labels: recipe.mixup={mixup} must be 0")
        self.level, self.active, self.steps, self.lr = level, active, steps, lr

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self.active or not pl_module.training_metrics.count:
            return  # after resuming at the end of an epoch that was already rescaled
        logits, labels = pl_module.last_batch
        scale = _fit_scale(logits.detach(), labels, sum_over_ranks, self.steps, self.lr)
        pl_module.scale_(scale)
        pl_module.events.append({"epoch": trainer.current_epoch, "event": "scaling", "scale": scale})


@torch.no_grad()
def _fit_scale(
    logits: Tensor,
    labels: Tensor,
    total: Callable[[Tensor], Tensor] = lambda part: part,
    steps: int = 20,
    lr: float = 0.1,
) -> float:
    """The factor on `logits` after `steps` steps of SGD from 1 on the mean cross-entropy, without momentum.

    logits: samples x classes
    labels: class indices
    total: sums a tensor over all ranks that hold samples
    steps, lr: number of SGD steps, and learning rate

    Returns 1 if the fit ends at a factor that is not positive and finite.
    """
    z = logits.double()
    correct = z.gather(1, labels.unsqueeze(1)).sum()
    scale = torch.ones_like(correct)
    for _ in range(steps):
        slope = (torch.softmax(scale * z, 1) * z).sum() - correct
        whole, count = total(torch.stack([slope, slope.new_tensor(len(z))]))
        scale = scale - lr * whole / count
    factor = float(scale)
    return factor if math.isfinite(factor) and factor > 0 else 1.0
