"""The progress display in a terminal. Without a terminal, the level loop prints one line per level instead."""

import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from rich.console import Console
from rich.progress import Progress, ProgressColumn, Task, TaskID
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from lth.plan import Level

_GAP, _SHORTEST_BAR = "  ", 3  # text between two facts; width of the bar in columns


class ShowProgress(Callback):
    """A line over the steps of all levels: level, density, epoch, percent, time left, accuracy and a bar.

    levels: all levels of the experiment
    console: the terminal

    What does not fit the terminal is left out. Level, percent, time left and accuracy stay longest, in this order. The
    line is redrawn at most four times a second and reads no tensor, so it causes no synchronisation with a GPU.
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
        if self._bar is None and self.console.is_interactive and trainer.is_global_zero:
            self._bar = Progress(_Line(self.console), console=self.console, refresh_per_second=4)
            total = sum(level.steps for level in self.levels)
            # steps of earlier processes are complete from the start, so that they do not count in the speed
            self._task = self._bar.add_task("", total=total, completed=self._done + trainer.global_step, facts=())
            self._bar.start()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if self._bar is not None and time.monotonic() - self._drawn > 0.25:
            self._draw(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        metrics = pl_module.summary()
        for which in ("train", "val"):
            if f"{which}_accuracy" in metrics:
                self._accuracy = f"{which} acc {metrics[f'{which}_accuracy']:.4f}"

    def close(self) -> None:
        """Remove the display."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _draw(self, trainer: Trainer) -> None:
        assert self._bar is not None
        self._drawn = time.monotonic()
        epochs = -(-self.level.steps // self.level.budget.epoch)
        facts = {
            "level": f"level {self.level.index} ({self.level.index + 1}/{len(self.levels)})",
            "density": f"density {self.level.density:.4g}",
            "epoch": f"epoch {trainer.current_epoch + 1}/{epochs}",
            "accuracy": self._accuracy,
        }
        self._bar.update(self._task, completed=self._done + trainer.global_step, facts=facts)


class _Line(ProgressColumn):
    """The whole line: as much of the text as fits `console`, and a bar over the rest of the width."""

    max_refresh = 0.25  # seconds

    def __init__(self, console: Console):
        super().__init__()
        self.console = console

    def render(self, task: Task) -> Table:
        left = "" if task.time_remaining is None else f"{timedelta(seconds=int(task.time_remaining))} left"
        facts = {"level": "", "density": "", "epoch": "", "percent": f"{task.percentage:3.0f}%", "left": left}
        facts |= {"accuracy": ""} | dict(task.fields["facts"])
        text = _fitting(facts, self.console.width - len(_GAP) - _SHORTEST_BAR)
        line = Table.grid(padding=(0, len(_GAP), 0, 0))
        bar = ProgressBar(task.total, task.completed, self.console.width - len(text) - len(_GAP))
        line.add_row(Text(text, no_wrap=True), bar)
        return line


def _fitting(
    facts: dict[str, str],
    width: int,
    importance: Sequence[str] = ("level", "percent", "left", "accuracy", "density", "epoch"),
) -> str:
    """The facts that are known, in their order, without the least important ones where `width` is too small."""
    kept = [name for name in importance if facts[name]]
    while len(kept) > 1 and sum(len(facts[name]) + len(_GAP) for name in kept) - len(_GAP) > width:
        kept.pop()
    return _GAP.join(text for name, text in facts.items() if name in kept)
