"""What one task (rank) of a Slurm job does: run the job's command, and have Slurm queue it again when it is stopped."""

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from typing import Any

from hydra_plugins.lth_launcher.job import without_overwrite
from lth.training.signals import AGAIN, SIGNALS

STOPPED = (
    AGAIN,
    *(-signum for signum in SIGNALS),
)  # negative: killed by the signal, before the training had set its handlers


class RankTask:
    """Runs `command` in `cwd`; submitit calls it on every rank.

    Slurm signals every process of the job. The training then saves its state at the end of the epoch and exits. Rank 0
    waits for that, `grace` seconds at most, and asks Slurm to queue the job again. The requeued job resumes from the
    last saved state. The handlers here replace submitit's and, in the training, Lightning's. Both would requeue too,
    and save inside the handler, at any step.

    command: command line of the job
    cwd: working folder of the command
    grace: seconds to wait for the training after the first signal
    requeues: how often the job may be queued again
    """

    def __init__(self, command: Sequence[str], cwd: str, grace: float, requeues: int):
        self.command, self.cwd, self.grace, self.requeues = list(command), cwd, grace, requeues
        self.asked: float | None = None  # when the first signal came

    def __call__(self) -> str:
        """Returns "finished" or "requeued". Raises RuntimeError otherwise, which ends the job's other ranks too."""
        for signum in SIGNALS:
            signal.signal(signum, self._listen)
        restarts = int(os.environ.get("SLURM_RESTART_COUNT", 0))
        child = subprocess.Popen(without_overwrite(self.command, restarts), cwd=self.cwd)
        code = child.poll()
        while code is None and not self._out_of_time():
            time.sleep(0.2)
            code = child.poll()
        if code == 0:
            return "finished"
        if self.asked is None and code not in STOPPED:
            raise RuntimeError(f"the training ended with code {code}")
        if os.environ.get("SLURM_PROCID", "0") != "0":
            return "requeued"
        if restarts >= self.requeues:
            raise RuntimeError(f"not queued again: it was queued again {restarts} times, and requeues={self.requeues}")
        print(f"stopped, and queued again (restart {restarts + 1} of {self.requeues} at most)", flush=True)
        subprocess.run(["scontrol", "requeue", slurm_job_id()], check=True, timeout=60)
        return "requeued"

    def _listen(self, signum: int, frame: Any) -> None:
        self.asked = self.asked or time.monotonic()

    def _out_of_time(self) -> bool:
        return self.asked is not None and time.monotonic() - self.asked > self.grace


def slurm_job_id() -> str:
    """This job's id in Slurm; `<array>_<index>` for a job of an array."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ["SLURM_JOB_ID"]
