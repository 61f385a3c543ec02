"""Checkpoints inside a level: written whole or not at all, read without pickle."""

import time
from pathlib import Path
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO

from lth.storage.atomic import write_torch
from lth.storage.checkpoint import load_checkpoint
from lth.training.signals import AGAIN, asked_to_leave, listen


class LastCheckpoint(Checkpoint):
    """Keeps `path` as the state of the last epoch's end: at least every `seconds`, and always at the level's end.

    When a scheduler asks the run to leave, it is saved at the next epoch's end and left with exit code 75. Between two
    epochs nothing but the state of the modules matters; a level's curves, tallies and loaders need not know of it.
    """

    def __init__(self, path: Path, steps: int, seconds: float = 0.0):
        self.path, self.steps, self.seconds = path, steps, seconds
        self._saved_at = time.monotonic()
        listen()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        due = time.monotonic() - self._saved_at >= self.seconds or trainer.global_step >= self.steps
        leave = asked_to_leave()
        due, leave = trainer.strategy.broadcast((due, leave))  # clocks differ between ranks, and saving is collective
        if due or leave:
            trainer.save_checkpoint(self.path)
            self._saved_at = time.monotonic()
        if leave:
            raise SystemExit(AGAIN)


class AtomicCheckpointIO(TorchCheckpointIO):
    """Temporary file, sync, rename; loading never runs code from the file."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        write_torch(Path(path), checkpoint)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: Any = None) -> dict[str, Any]:
        return load_checkpoint(Path(path), map_location)
