"""A hook that runs after optimizer steps. Lightning's own hook runs after batches, several of which may make a step."""

from abc import ABC, abstractmethod
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer


class AfterStep(Callback, ABC):
    """A callback that acts after optimizer steps: `after_step` is called once for each, with its number.

    A batch that only accumulates gradients is not a step. Under manual optimization every batch is one step, however
    often its optimizers step.
    """

    _step = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._step = _steps_taken(trainer, pl_module)  # more than 0 where training resumes

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        step = _steps_taken(trainer, pl_module)
        if step > self._step:
            self._step = step
            self.after_step(trainer, pl_module, step)

    @abstractmethod
    def after_step(self, trainer: Trainer, pl_module: LightningModule, step: int) -> None:
        """Act after optimizer step `step` of the level, counted from 1."""


def _steps_taken(trainer: Trainer, pl_module: LightningModule) -> int:
    """Finished steps of this fit, those before a resume included. At the end of a batch, the batch is included."""
    if pl_module.automatic_optimization:
        return trainer.global_step
    return trainer.fit_loop.epoch_loop.batch_progress.total.ready  # `global_step` counts every optimizer's step
