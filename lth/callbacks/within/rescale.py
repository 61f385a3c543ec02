"""Rescales the frozen weights of a search after every epoch so that the logits have a fitted scale."""

from typing import ClassVar

from pytorch_lightning import Callback, LightningModule, Trainer

from lth.plan import Level
from lth.pruning.search.rescaling import fit_scale
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
        scale = fit_scale(logits.detach(), labels, sum_over_ranks, self.steps, self.lr)
        pl_module.scale_(scale)
        pl_module.events.append({"epoch": trainer.current_epoch, "event": "scaling", "scale": scale})
