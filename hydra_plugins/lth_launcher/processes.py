"""Sweeps in fresh processes: one job cannot leak memory, seeds or trackers into the next, nor end the others."""

import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from hydra_plugins.lth_launcher.job import Job, die_with_parent, plan, returns, summarise, unfinished


class ProcessLauncher(Launcher):
    """Runs each job of a sweep as `python run.py <its overrides>`, without `-m`, `jobs` at a time.

    Distributed jobs start their ranks from their own command line, so that no rank plans the sweep again. Jobs that are
    finished are skipped, and a job dies with its sweep.
    """

    def __init__(self, jobs: int = 1):
        if jobs < 1:
            raise ValueError(f"hydra.launcher.jobs={jobs} must be 1 or more")
        self.jobs = jobs
        self.config: DictConfig | None = None
        self.hydra_context: HydraContext | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.config, self.hydra_context = config, hydra_context

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        assert self.hydra_context is not None
        assert self.config is not None
        jobs = plan(self.hydra_context, self.config, job_overrides, initial_job_idx)
        todo = unfinished(jobs)
        with ThreadPoolExecutor(self.jobs) as pool:
            codes = dict(zip(map(id, todo), pool.map(_run, todo), strict=True))
        failures = {i: f"ended with code {codes[id(job)]}" for i, job in enumerate(jobs) if codes.get(id(job))}
        summarise(jobs, failures)
        return returns(jobs, failures)


def _run(job: Job) -> int:
    print(f"job: {job}", flush=True)
    return subprocess.run(job.command, check=False, preexec_fn=die_with_parent).returncode
