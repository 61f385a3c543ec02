"""Sweeps in fresh processes: one job cannot leak memory, seeds or trackers into the next, nor end the others."""

import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class ProcessLauncher(Launcher):
    """Runs each job of a sweep as `python run.py <its overrides>`, without `-m`, `jobs` at a time.

    Distributed jobs start their ranks from their own command line, so that no rank plans the sweep again.
    """

    def __init__(self, jobs: int = 1):
        if jobs < 1:
            raise ValueError(f"hydra.launcher.jobs={jobs} must be 1 or more")
        self.jobs = jobs
        self.config: DictConfig | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        with ThreadPoolExecutor(self.jobs) as pool:
            results = list(pool.map(self._run, job_overrides))
        failed = [r for r in results if r.status == JobStatus.FAILED]
        print(f"{len(results) - len(failed)} of {len(results)} jobs finished", flush=True)
        for result in failed:
            print(f"failed: {' '.join(result.overrides or [])}", flush=True)
        return results

    def _run(self, overrides: Sequence[str]) -> JobReturn:
        print(f"job: {' '.join(overrides)}", flush=True)
        code = subprocess.run([sys.executable, sys.argv[0], *overrides], check=False).returncode
        result = JobReturn(overrides=list(overrides), status=JobStatus.COMPLETED if code == 0 else JobStatus.FAILED)
        outcome: Any = None if code == 0 else ValueError(f"the job with {' '.join(overrides)} ended with code {code}")
        result.return_value = outcome
        return result
