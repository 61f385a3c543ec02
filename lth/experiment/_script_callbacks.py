"""The callbacks that `lth.levels` gives a script's Trainer besides those that prune and rewind."""

import logging
import random
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from lth.analysis.layers import layer_table
from lth.callbacks.within.keep_pruned import masked_module
from lth.plan import Budget, Level
from lth.pruning.seeds import derive
from lth.storage.atomic import write_with
from lth.storage.checkpoint import copy_state_, load_checkpoint, write_checkpoint

_log = logging.getLogger(__name__)


class LevelState(Callback):
    """Gives a level its starting weights or its last checkpoint, saves checkpoints, and seeds every epoch.

    level: the level being trained
    seed: the script's seed
    seconds: shortest time between two checkpoints

    Checkpoints are written before an epoch begins and are resumed as if the epoch were the first of a fit. At the other
    moments that Lightning offers, a resumed fit differs from an uninterrupted one: after `on_train_epoch_end` it omits
    a step of the learning-rate schedulers, and after `on_train_epoch_start` it omits an epoch. Random states are a
    function of seed, level, epoch and rank, so a resumed level draws the same batches and dropout masks.
    """

    def __init__(self, level: Level, seed: int, seconds: float):
        self.level, self.seed, self.seconds = level, seed, seconds
        self._saved_at = time.monotonic()
        self._first_epoch, self._saving = True, False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":  # first, so that other callbacks find restored weights, and checkpoints hold whole epochs
            others = [callback for callback in trainer.callbacks if callback is not self]
            trainer.callbacks = [self, *others]

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._seed(trainer, 0)
        module, last = masked_module(trainer, pl_module), checkpoint(self.level)
        if trainer.ckpt_path:
            return
        if last is not None:
            if trainer.is_global_zero:
                print(f"resuming level {self.level.index} from its last checkpoint")
            _resume(trainer, last)
            return
        source = start(self.level)
        if source.is_file():
            saved = load_checkpoint(source)
            copy_state_(pl_module, saved["weights"])
            module.masks.copy_(saved["masks"])
        elif trainer.is_global_zero:  # a restarted first level begins with the same weights, seeded or not
            write_checkpoint(source, _content(module))
        trainer.strategy.barrier()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.ckpt_path:
            trainer.fit_loop.restarting = False
            for loop in (trainer.fit_loop, trainer.fit_loop.epoch_loop):
                getattr(loop, "reset_restart_stage", _nothing)()  # Lightning 2.6 and newer

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        due = not self._first_epoch and time.monotonic() - self._saved_at >= self.seconds
        if trainer.strategy.broadcast(due):
            self._saving = True
            save(trainer, self.level.folder / "last.ckpt")
            self._saving, self._saved_at = False, time.monotonic()
        self._seed(trainer, trainer.current_epoch)
        if self._first_epoch:  # Lightning began its batches before this hook, with another random state
            iter(trainer.fit_loop._data_fetcher)
            self._first_epoch = False

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if self._saving:  # the epoch counts as not begun
            for counts in checkpoint["loops"]["fit_loop"]["epoch_progress"].values():
                counts["ready"] -= 1

    def _seed(self, trainer: Trainer, epoch: int) -> None:
        value = derive("script", self.seed, self.level.index, epoch, trainer.global_rank)
        torch.manual_seed(value)
        np.random.seed(value % 2**32)  # noqa: NPY002 - the user's augmentations may draw from numpy's global state
        random.seed(value)


class Outcome(Callback):
    """Collects the results of a level: weights, masks, logged numbers, time.

    level: the level being trained
    """

    def __init__(self, level: Level):
        self.level = level
        self.finished = False
        self.numbers: dict[str, Any] = {}
        self.layers: list[dict[str, Any]] = []
        self.masks: dict[str, torch.Tensor] = {}
        self.events: list[dict[str, Any]] = []
        self.seconds = 0.0
        self._begun = time.monotonic()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begun = time.monotonic()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        empty = [name for name, mask in masked_module(trainer, pl_module).masks.items() if not mask.any()]
        if empty and trainer.is_global_zero:
            _log.warning("level %d (%s): empty layers: %s", self.level.index, self.level.name, empty)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._take(trainer)
        save(trainer, self.level.folder / "last.ckpt")

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        module = masked_module(trainer, pl_module)
        self.seconds += time.monotonic() - self._begun
        self.masks, self.events = module.masks.bools(), module.events
        self.layers = layer_table(module.net, module.masks, None)
        kept, total = module.masks.kept, module.masks.total
        measured = {
            "density": kept / total,
            "target_density": self.level.density,
            "kept": kept,
            "epochs": trainer.current_epoch,
            "steps": trainer.global_step,
        }
        self.numbers = {**measured, **self.numbers, **measured}  # metrics of the script do not replace these
        if trainer.is_global_zero:
            write_checkpoint(self.level.folder / "end.ckpt", _content(module), pack=True)
        self.finished = True

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._take(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.finished:  # the script called `trainer.validate` after training
            self._take(trainer)

    def _take(self, trainer: Trainer) -> None:
        self.numbers |= {name: float(value) for name, value in trainer.callback_metrics.items()}

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds + time.monotonic() - self._begun, "numbers": self.numbers}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seconds, self.numbers = state_dict["seconds"], state_dict["numbers"]


class Deferred(Callback):
    """Builds a callback when the Trainer knows the length of the level, and then passes every hook on to it.

    build: level -> callback; points such as "5%" are resolved with the level's budget
    level: the level, still without budget
    number: position among the script's callbacks, for the checkpoint
    """

    def __init__(self, build: Callable[[Level], Callback], level: Level, number: int):
        self.build, self.level, self.number = build, level, number
        self.inner: Callback | None = None
        self._stored: dict[str, Any] | None = None

    @property
    def state_key(self) -> str:
        """Name under which the checkpoint stores this callback's state."""
        return self._generate_state_key(number=self.number)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        inner = self.build(_with_budget(self.level, trainer))
        if not isinstance(inner, Callback):
            raise ValueError(f"a function of within makes a {type(inner).__name__}, which is no callback")
        self.inner = inner
        if self._stored:
            self.inner.load_state_dict(self._stored)
        self.inner.on_fit_start(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        return self.inner.state_dict() if self.inner else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._stored = state_dict


def _passing_on(name: str) -> Callable[..., None]:
    def hook(self: Deferred, *args: Any, **kwargs: Any) -> None:
        if self.inner is not None:
            getattr(self.inner, name)(*args, **kwargs)

    return hook


for _hook in vars(Callback):
    if _hook.startswith("on_") and _hook not in vars(Deferred):
        setattr(Deferred, _hook, _passing_on(_hook))


def _nothing() -> None:
    pass


def checkpoint(level: Level) -> Path | None:
    """The level's last checkpoint; None if there is none."""
    path = level.folder / "last.ckpt"
    return path if path.is_file() else None


def start(level: Level) -> Path:
    """The file with weights and masks that the level begins with: `end.ckpt` of its source, or its own `start.ckpt`."""
    if level.source is None:
        return level.folder / "start.ckpt"
    before = sorted(level.folder.parent.glob(f"level_{level.source:02d}_*"))[0]
    return before / "end.ckpt"


def save(trainer: Trainer, path: Path) -> None:
    """Write a Lightning checkpoint atomically. Must be called on every rank."""
    if trainer.is_global_zero:
        write_with(path, trainer.save_checkpoint)
    else:
        trainer.save_checkpoint(path)  # takes part in collecting the state, and writes nothing


def _content(module: Any) -> dict[str, Any]:
    return {"weights": module.net.state_dict(), "masks": module.masks.bools()}


def _resume(trainer: Trainer, path: Path) -> None:
    """Restore what `trainer.fit(ckpt_path=path)` restores; Lightning restores optimizers and loops after this hook."""
    connector = trainer._checkpoint_connector
    try:
        connector.resume_start(path)
    except Exception as error:
        raise ValueError(
            f"{path} cannot be read ({error}). If your module stores other objects than tensors and numbers: "
            "trainer.fit(..., ckpt_path=level.checkpoint, weights_only=False). If it is damaged: delete it"
        ) from None
    connector.restore_datamodule()
    connector.restore_model()
    connector.restore_callbacks()


def _with_budget(level: Level, trainer: Trainer) -> Level:
    """The level with the number of steps that the Trainer is going to take. Raises ValueError for an endless one."""
    total = trainer.estimated_stepping_batches
    if total in (-1, float("inf")):
        raise ValueError("a level needs an end: give the Trainer max_epochs or max_steps")
    batches, every = trainer.num_training_batches, trainer.accumulate_grad_batches
    epoch = int(total) if batches == float("inf") else -(-int(batches) // every)
    return replace(level, steps=int(total), budget=Budget(int(total), epoch))
