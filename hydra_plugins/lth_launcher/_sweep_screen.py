"""Terminal output of a sweep on this machine: one line per job, and a total with the estimated time left."""

import re
import time
from collections.abc import Sequence
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from hydra_plugins.lth_launcher.job import Job, failure

_LONGEST_NAME = 100  # characters of a log's name before its hash


class SweepScreen:
    """Prints a line when a job ends. In a terminal, the last line shows the total while jobs run.

    jobs: the jobs to run
    at_a_time: number of jobs that run at the same time
    logs: folder for the output of the jobs, one file per job
    console: where to print; the default is the standard output
    """

    def __init__(self, jobs: Sequence[Job], at_a_time: int, logs: Path, console: Console | None = None):
        self.jobs, self.at_a_time, self.logs = jobs, at_a_time, logs
        self.console = console or Console(highlight=False)
        self._running: dict[int, float] = {}  # position -> time of its start
        self._seconds: list[float] = []  # of the jobs that have ended
        self._failed = 0
        self._bar: Progress | None = None
        self._task = TaskID(0)

    def __enter__(self) -> "SweepScreen":
        if not self.jobs:
            return self
        count = f"{len(self.jobs)} job{'s' if len(self.jobs) > 1 else ''} to run, {self.at_a_time} at a time"
        self._print(f"{count}; their output: {self.logs}")
        if self.console.is_interactive:
            columns = TextColumn("{task.description}", markup=False), BarColumn(bar_width=None)
            self._bar = Progress(*columns, console=self.console, expand=True, refresh_per_second=2)
            self._task = self._bar.add_task("", total=len(self.jobs))
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def log_of(self, index: int) -> Path:
        """The file for the output of a job; its folder is created.

        index: position of the job in `jobs`
        """
        name = str(self.jobs[index])
        clean = re.sub(r"[^\w.,=-]+", "_", name)[:_LONGEST_NAME]
        self.logs.mkdir(parents=True, exist_ok=True)
        return self.logs / f"{clean}-{sha256(name.encode()).hexdigest()[:8]}.log"

    def started(self, index: int) -> None:
        """Note that a job begins.

        index: its position in `jobs`
        """
        self._running[index] = time.monotonic()
        self._show_total()

    def ended(self, index: int, cause: str) -> str:
        """Print that a job finished, or why it failed. Returns the cause with the path of the log, "" if it finished.

        index: its position in `jobs`
        cause: what went wrong; empty where nothing did
        """
        seconds, job = time.monotonic() - self._running.pop(index), self.jobs[index]
        self._seconds.append(seconds)
        self._show_total()
        if cause:
            self._failed += 1
            cause = f"{cause} (output: {self.log_of(index)})"
            self._print(failure(job, cause))
            return cause
        total = "" if self._bar is not None else f"  [{self.total()}]"
        self._print("  ".join(filter(None, (f"finished: {job}", job.result(), f"{seconds:.1f} s"))) + total)
        return ""

    def total(self) -> str:
        """Text with the number of ended jobs and the estimated time left, from the mean duration of ended jobs."""
        ended, count = len(self._seconds), len(self.jobs)
        parts = [f"{ended} of {count} jobs", f"{100 * ended // count}%"]
        if 0 < ended < count:
            left = sum(self._seconds) / ended * (count - ended) / min(self.at_a_time, count - ended)
            parts.append(f"{timedelta(seconds=round(left))} left")
        return "  ".join([*parts, *([f"{self._failed} failed"] if self._failed else [])])

    def _show_total(self) -> None:
        if self._bar is not None:
            room = max(10, self.console.width - 12)
            running = ", ".join(str(self.jobs[index]) for index in self._running)
            text = f"{self.total()}  now: {running}" if running else self.total()
            short = text if len(text) <= room else f"{text[: room - 3]}..."
            self._bar.update(self._task, description=short, completed=len(self._seconds))

    def _print(self, text: str) -> None:
        self.console.print(text, soft_wrap=True, markup=False)
        self.console.file.flush()
