"""Checkpoints within a level, written atomically and read without running code from the file."""

import time
from pathlib import Path
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO

from lth.storage.checkpoint import load_checkpoint, write_checkpoint
from lth.training.signals import AGAIN, asked_to_leave, listen


class LastCheckpoint(Checkpoint):
    """Saves the training state at the ends of epochs, and always at the level's end.

    path: the checkpoint file; each save replaces it
    steps: optimizer steps of the level
    seconds: shortest time between two saves; 0 saves at every epoch's end

    When the job scheduler has asked the run to stop (`lth.training.signals`), the state is saved at the epoch's end and
    the process exits with code 75. A state saved between epochs needs no partial metrics and no data-loader position.
    """

    def __init__(self, path: Path, steps: int, seconds: float = 0.0):
        self.path, self.steps, self.seconds = path, steps, seconds
        self._saved_at = time.monotonic()
        listen()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.strategy.broadcast(asked_to_leave()):  # asked between two levels: this one has nothing to save
            raise SystemExit(AGAIN)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        due = time.monotonic() - self._saved_at >= self.seconds or trainer.global_step >= self.steps
        leave = asked_to_leave()
        due, leave = trainer.strategy.broadcast((due, leave))  # all ranks take part in a save, but their clocks differ
        if due or leave:
            trainer.save_checkpoint(self.path)
            self._saved_at = time.monotonic()
        if leave:
            raise SystemExit(AGAIN)


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoint files, written atomically and loaded with `weights_only=True`."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        write_checkpoint(Path(path), checkpoint)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: Any = None) -> dict[str, Any]:
        return load_checkpoint(Path(path))
