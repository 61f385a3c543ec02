"""The progress bar in a terminal. Without a terminal, the level loop prints one line per level instead."""

import time
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from lth.plan import Level


class ShowProgress(Callback):
    """A bar over the steps of all levels, with level, density, epoch, accuracy and time left.

    levels: all levels of the experiment
    console: the terminal

    The bar is redrawn at most four times a second and reads no tensor, so it causes no synchronisation with a GPU.
    """

    def __init__(self, levels: list[Level], console: Console):
        self.levels, self.console = levels, console
        self.level, self._done, self._drawn = levels[0], 0, 0.0
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._accuracy = ""

    def begin(self, level: Level) -> None:
        """Set the level that is trained next."""
        self.level = level
        self._done = sum(before.steps for before in self.levels[: level.index])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._bar is None and self.console.is_terminal and trainer.is_global_zero:
            columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
            self._bar = Progress(*columns, TimeRemainingColumn(), console=self.console, refresh_per_second=4)
            self._task = self._bar.add_task("", total=sum(level.steps for level in self.levels))
            self._bar.start()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if self._bar is not None and time.monotonic() - self._drawn > 0.25:
            self._draw(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        metrics = pl_module.summary()
        for which in ("train", "val"):
            if f"{which}_accuracy" in metrics:
                self._accuracy = f"{which} accuracy {metrics[f'{which}_accuracy']:.4f}"

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _draw(self, trainer: Trainer) -> None:
        assert self._bar is not None
        self._drawn = time.monotonic()
        epochs = -(-self.level.steps // self.level.budget.epoch)
        number = f"level {self.level.index} ({self.level.index + 1}/{len(self.levels)})"
        where = f"{number}  density {self.level.density:.4g}"
        text = f"{where}  epoch {trainer.current_epoch + 1}/{epochs}  {self._accuracy}"
        self._bar.update(self._task, completed=self._done + trainer.global_step, description=text)
