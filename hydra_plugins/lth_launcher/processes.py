"""Sweeps in fresh processes: one job cannot leak memory, seeds or trackers into the next, nor end the others."""

import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from hydra_plugins.lth_launcher.forks import run_all, stop_all
from hydra_plugins.lth_launcher.job import Job
from hydra_plugins.lth_launcher.launcher import JobLauncher
from lth.cli._valid import check_part
from lth.training.signals import die_with_parent


class ProcessLauncher(JobLauncher):
    """Runs each job of a sweep as a command line of its own, `lth run <its overrides>`, `jobs` at a time.

    jobs: how many run at a time
    preload: fork each process from one that has imported torch and Lightning, which saves ten seconds a job

    Distributed jobs start their ranks from their own command line, so that no rank starts the sweep again. Finished
    jobs are skipped, and a job dies with its sweep.
    """

    def __init__(self, jobs: int = 1, preload: bool = True):
        check_part("hydra.launcher", jobs=jobs, preload=preload)
        self.jobs, self.preload = jobs, preload and sys.platform == "linux"

    def run(self, jobs: Sequence[Job]) -> list[str]:
        return [f"ended with code {code}" if code else "" for code in self._run_all(jobs)]

    def _run_all(self, jobs: Sequence[Job]) -> list[int]:
        if self.preload and len(jobs) > 1:
            return run_all([job.command for job in jobs], self.jobs, lambda index: _announce(jobs[index]))
        running: list[subprocess.Popen] = []
        with ThreadPoolExecutor(self.jobs) as pool:
            try:
                return list(pool.map(partial(_run, running), jobs))
            except BaseException:  # the sweep is interrupted, its jobs were not
                pool.shutdown(wait=False, cancel_futures=True)
                stop_all(running, _waited)
                raise


def _run(running: list[subprocess.Popen], job: Job) -> int:
    _announce(job)
    with subprocess.Popen(job.command, preexec_fn=die_with_parent) as process:
        running.append(process)
        return process.wait()


def _waited(process: subprocess.Popen, seconds: float) -> bool:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def _announce(job: Job) -> None:
    print(f"job: {job}", flush=True)
