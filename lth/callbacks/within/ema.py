"""Exponential moving average of the weights, for evaluation."""

from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor

from lth.callbacks._after_step import AfterStep


class EMA(AfterStep):
    """Validates and tests with an exponential moving average of the parameters; training goes on with the raw ones.

    decay: fraction of the old average kept at each optimizer step, 0..1

    The average starts with the weights after pruning and rewinding, so that pruned weights are zero in it too.
    Lightning's own callback copies the module before `on_fit_start`, that is before they are pruned.
    """

    def __init__(self, decay: float):
        self.decay = decay
        self.average: list[Tensor] = []
        self._changes = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        weights = self._weights(pl_module)
        if self.average:  # restored from a checkpoint, on the CPU
            self.average = [a.to(w.device) for a, w in zip(self.average, weights, strict=True)]
        else:
            self.average = [w.detach().clone() for w in weights]
        self._changes = pl_module.changes

    @torch.no_grad()
    def after_step(self, trainer: Trainer, pl_module: LightningModule, step: int) -> None:
        torch._foreach_lerp_(self.average, self._weights(pl_module), 1 - self.decay)
        if pl_module.changes > self._changes:  # weights pruned within the level become zero in the average
            self._changes = pl_module.changes
            pl_module.zero_copies_({id(w): a for w, a in zip(self._weights(pl_module), self.average, strict=True)})

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._swap(pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._swap(pl_module)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._swap(pl_module)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._swap(pl_module)

    def state_dict(self) -> dict[str, Any]:
        return {"average": [a.cpu() for a in self.average]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.average = state_dict["average"]

    @torch.no_grad()
    def _swap(self, pl_module: LightningModule) -> None:
        for average, weight in zip(self.average, self._weights(pl_module), strict=True):
            raw = weight.clone()
            weight.copy_(average)
            average.copy_(raw)

    def _weights(self, pl_module: LightningModule) -> list[Tensor]:
        return [p for p in pl_module.net.parameters() if p.requires_grad]
