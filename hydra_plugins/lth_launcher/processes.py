"""Sweeps in fresh processes: one job cannot leak memory, seeds or trackers into the next, nor end the others."""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from hydra_plugins.lth_launcher.forks import OUTPUT_FILE, run_all, stop_all
from hydra_plugins.lth_launcher.job import Job, error_file
from hydra_plugins.lth_launcher.launcher import JobLauncher
from lth.cli._valid import check_part
from lth.training.signals import die_with_parent

if TYPE_CHECKING:
    from hydra_plugins.lth_launcher._sweep_screen import SweepScreen


class ProcessLauncher(JobLauncher):
    """Runs each job of a sweep as a command line of its own, `lth run <its overrides>`, `jobs` at a time.

    jobs: how many run at a time
    preload: fork each job from a process that has imported torch and Lightning; saves ten seconds per job; Linux only

    Distributed jobs start their ranks from their own command line, so that no rank starts the sweep again. Finished
    jobs are skipped, and a job dies with its sweep.
    """

    def __init__(self, jobs: int = 1, preload: bool = True):
        check_part("hydra.launcher", jobs=jobs, preload=preload)
        self.jobs, self.preload = jobs, preload and sys.platform == "linux"

    def run(self, jobs: Sequence[Job]) -> list[str]:
        # imported here: Hydra imports every launcher before a single run, too
        from hydra_plugins.lth_launcher._sweep_screen import SweepScreen

        logs = Path(self.config.hydra.sweep.dir) / "logs"
        with SweepScreen(jobs, self.jobs, logs) as screen:
            if self.preload and len(jobs) > 1:
                return self._in_forks(screen)
            running: list[subprocess.Popen] = []
            with ThreadPoolExecutor(self.jobs) as pool:
                try:
                    return list(pool.map(partial(_run, running, screen), range(len(jobs))))
                except BaseException:  # the sweep was interrupted, but its jobs still run
                    pool.shutdown(wait=False, cancel_futures=True)
                    stop_all(running, _waited)
                    raise

    def _in_forks(self, screen: "SweepScreen") -> list[str]:
        causes: dict[int, Callable[[int], str]] = {}
        outcomes = [""] * len(screen.jobs)
        with ExitStack() as files:

            def started(index: int) -> dict[str, str]:
                screen.started(index)
                environment, causes[index] = files.enter_context(error_file())
                return {**environment, OUTPUT_FILE: str(screen.log_of(index))}

            def ended(index: int, code: int) -> None:
                outcomes[index] = screen.ended(index, causes[index](code))

            run_all([job.command for job in screen.jobs], self.jobs, started, ended)
        return outcomes


def _run(running: list[subprocess.Popen], screen: "SweepScreen", index: int) -> str:
    screen.started(index)
    with error_file() as (environment, cause), screen.log_of(index).open("ab") as log:
        where, command = {**os.environ, **environment}, screen.jobs[index].command
        with subprocess.Popen(command, env=where, stdout=log, stderr=log, preexec_fn=die_with_parent) as process:
            running.append(process)
            return screen.ended(index, cause(process.wait()))


def _waited(process: subprocess.Popen, seconds: float) -> bool:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True
