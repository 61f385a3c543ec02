"""The scale of the logits, set anew after every epoch by a factor on frozen weights."""

from pytorch_lightning import Callback, LightningModule, Trainer

from lth.plan import Level
from lth.pruning.search.rescaling import fit_scale
from lth.training.ranks import sum_over_ranks


class Rescale(Callback):
    """After each epoch fits one factor on the logits of its last batch and gives it to the weights (arXiv 2210.02412).

    The epoch's row was measured before. active: whether to. steps, lr: of the fit, plain SGD. mixup: the recipe's,
    which must be 0: mixed images have no one label. The factor divides the learning rate until the level's end.
    """

    def __init__(self, level: Level, active: bool = False, steps: int = 20, lr: float = 0.1, mixup: float = 0.0):
        if not isinstance(active, bool):
            raise ValueError(f"method.scaling={active!r} is not one of (true, false)")
        if active and mixup:
            raise ValueError(f"method.scaling=true fits logits to labels: recipe.mixup={mixup} must be 0")
        self.level, self.active, self.steps, self.lr = level, active, steps, lr

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self.active or not pl_module.training_metrics.count:
            return  # an epoch that ended, and was scaled after, before the run was interrupted
        logits, labels = pl_module.last_batch
        scale = fit_scale(logits.detach(), labels, sum_over_ranks, self.steps, self.lr)
        pl_module.scale_(scale)
        pl_module.events.append({"epoch": trainer.current_epoch, "event": "scaling", "scale": scale})
