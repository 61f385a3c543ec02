"""Sweeps on Slurm, through submitit: the jobs of a sweep are one array, the ranks of a job its tasks."""

import os
import subprocess
import time
import uuid
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from hydra_plugins.lth_launcher.job import Job
from hydra_plugins.lth_launcher.launcher import JobLauncher
from hydra_plugins.lth_launcher.slurm_task import RankTask
from lth.cli._valid import check_part
from lth.storage.atomic import write_text

MARGIN = 15  # seconds between the end of the grace period and the kill, in which the job is requeued


class SlurmLauncher(JobLauncher):
    """Submits each unfinished job of a sweep, waits until Slurm has none of them left, and reports.

    logs: folder, shared by all nodes, for submission files and one log per rank
    poll_seconds: seconds between two queries of the queue
    wait: false returns once everything is submitted
    requeues: how often one job may be queued again
    resources: resources per job, under submitit's parameter names; None = Slurm's default

    When this process is killed, the jobs stay in the queue; the same command waits for them and submits the rest.
    """

    def __init__(
        self, logs: str, poll_seconds: float = 10, wait: bool = True, requeues: int = 50, **resources: Any
    ) -> None:
        given = {"logs": logs, "poll_seconds": poll_seconds, "wait": wait, "requeues": requeues}
        check_part("hydra.launcher", **given, **resources)
        self.logs, self.poll_seconds, self.wait, self.requeues = Path(logs).resolve(), poll_seconds, wait, requeues
        self.resources = {key: value for key, value in resources.items() if value is not None}

    def run(self, jobs: Sequence[Job]) -> list[str] | None:
        if not jobs:
            return []
        check_ranks(jobs, self.resources)
        known, queue = {id(job): self._record(job) for job in jobs}, queued()
        waiting = [job for job in jobs if known[id(job)] in queue]
        for job in waiting:
            print(f"already queued as {self._number(job)}: {job}", flush=True)
        self._submit([job for job in jobs if job not in waiting])
        if not self.wait:
            print(f"{len(jobs)} jobs are queued; the same command again waits for them", flush=True)
            return None
        records = {self._record(job) for job in jobs}
        while records and not records.isdisjoint(queued()):
            time.sleep(self.poll_seconds)
        return ["" if self._outcome(job) == "finished" else self._failure(job) for job in jobs]

    def _submit(self, jobs: list[Job]) -> None:
        import submitit

        if not jobs:
            return
        delay = self.resources.get("slurm_signal_delay_s", 90)
        grace = max(delay - MARGIN, delay / 2)
        name = f"lth-{uuid.uuid4().hex[:12]}"  # job numbers begin again on a new cluster, names do not
        executor = submitit.AutoExecutor(self.logs, cluster="slurm")
        executor.update_parameters(name=name, slurm_srun_args=["--kill-on-bad-exit=1"], **self.resources)
        with executor.batch():
            tasks = [executor.submit(RankTask(job.command, os.getcwd(), grace, self.requeues)) for job in jobs]
        for job, task in zip(jobs, tasks, strict=True):
            write_text(self._record_path(job), f"{name} {task.job_id}")
            print(f"job {task.job_id}: {job}", flush=True)

    def _record_path(self, job: Job) -> Path:
        return self.logs / "queued" / sha256(str(job.folder or job).encode()).hexdigest()[:16]

    def _record(self, job: Job) -> str:
        """`<name> <number>` under which the job was submitted last, or nothing."""
        path = self._record_path(job)
        return path.read_text() if path.is_file() else ""

    def _outcome(self, job: Job) -> str:
        """Result that rank 0 stored: "finished" or "requeued"; "failed" after an error, "killed" if it stored none."""
        from submitit.core.utils import pickle_load

        path = self.logs / f"{self._number(job)}_0_result.pkl"
        for _ in range(5):  # network file systems show a file late
            if path.is_file():
                kind, value = pickle_load(path)
                return str(value) if kind == "success" else "failed"
            time.sleep(1)
        return "killed"

    def _number(self, job: Job) -> str:
        return self._record(job).partition(" ")[2]

    def _failure(self, job: Job) -> str:
        number = self._number(job)
        return f"Slurm job {number} did not finish; see {self.logs}/{number}_0_log.err"


def queued() -> set[str]:
    """`<name> <number>` of each of the user's jobs that is pending, running or completing.

    Raises ValueError if Slurm is not set up on this machine, and RuntimeError if it does not answer for five minutes.
    """
    command = ["squeue", "--me", "--array", "--noheader", "--format=%j %i"]
    for attempt in range(30):  # a restarting controller may not answer for minutes
        found = subprocess.run(command, capture_output=True, text=True, check=False)
        if found.returncode == 0:
            return {line.strip() for line in found.stdout.splitlines()}
        said = " ".join(found.stderr.split())
        if "configuration source" in said:
            raise ValueError(f"hydra/launcher=slurm: this machine is not part of a Slurm cluster (squeue: {said})")
        if not attempt:
            print(f"Slurm does not answer, trying for five minutes (squeue: {said})", flush=True)
        time.sleep(10)
    raise RuntimeError(f"squeue fails: {found.stderr.strip()}; the jobs stay in the queue, run the command again")


def check_ranks(jobs: Sequence[Job], resources: Mapping[str, Any]) -> None:
    """Raise ValueError if Slurm would start several ranks of a job whose trainer is not `slurm`."""
    ranks = resources.get("nodes", 1) * resources.get("tasks_per_node", 1)
    for job in jobs:
        trainer = job.choices.get("trainer", "slurm")
        if ranks > 1 and trainer != "slurm":
            raise ValueError(
                f"{ranks} tasks per job are {ranks} ranks, which trainer={trainer} does not support; use trainer=slurm"
            )
