"""A hook that runs after optimizer steps. Lightning's own hook runs after batches, several of which may make a step."""

from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer


class AfterStep(Callback):
    """A callback that acts after optimizer steps: `after_step` is called once for each, with its number.

    `trainer.global_step` counts finished optimizer steps. A batch that only accumulates gradients leaves it unchanged.
    """

    _step = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._step = trainer.global_step  # more than 0 where training resumes

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if trainer.global_step > self._step:
            self._step = trainer.global_step
            self.after_step(trainer, pl_module, self._step)

    def after_step(self, trainer: Trainer, pl_module: LightningModule, step: int) -> None:
        """Act after optimizer step `step` of the level, counted from 1."""
        raise NotImplementedError
