"""The real command line on two ranks: whichever of them dies, the job ends with an error, no process stays, and the
same command goes on to the same bits."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lth.training.signals import TERMINATED
from tests.support.harness import CONF, SMALL, train_on_ranks
from tests.support.left import state

RUN = CONF.parent / "run.py"
LADDER = "recipe.epochs=40", "sparsity=list", "sparsity.densities=[0.3]"
RANKS = [*(o for o in SMALL if not o.startswith(("trainer", "recipe.epochs"))), "trainer=ddp_cpu", *LADDER]
BOUND = 60  # seconds within which a job must be over once a rank is gone; measured: under 6 (Lightning looks every 5)


def start(folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(RUN), *RANKS, f"folder={folder}"]
    return subprocess.Popen(command, cwd=RUN.parent, start_new_session=True)


def second_rank(job: subprocess.Popen[bytes]) -> int:
    (rank,) = Path(f"/proc/{job.pid}/task/{job.pid}/children").read_text().split()
    return int(rank)


def members(job: subprocess.Popen[bytes]) -> list[str]:
    """The processes of the job's group that are still at work."""
    left = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            condition, _, group = stat.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue  # gone meanwhile
        if int(group) == job.pid and condition != "Z":
            left.append(stat.parent.name)
    return left


def wait_for(what: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not what() and time.monotonic() < end:
        time.sleep(0.02)
    return what()


def interrupt(folder: Path, hit: Callable[[subprocess.Popen[bytes]], None]) -> int:
    """Start, hit the job once it has saved something new, and see that it is over in time; its exit code."""

    def saved() -> float:
        return max((path.stat().st_mtime_ns for path in folder.glob("level_*/last.ckpt")), default=0)

    before = saved()
    job = start(folder)
    try:
        assert wait_for(lambda: saved() > before or job.poll() is not None, 600)
        assert job.poll() is None, f"it ended before it could be hit, with exit code {job.poll()}"
        hit(job)
        code = job.wait(BOUND)
        assert wait_for(lambda: not members(job), BOUND), f"left behind: {members(job)}"
        return code
    finally:
        if members(job):
            os.killpg(job.pid, signal.SIGKILL)


@pytest.mark.engine
def test_a_job_outlives_no_rank_and_the_restart_is_bit_exact(tmp_path: Path):
    whole, hit = tmp_path / "whole", tmp_path / "hit"
    assert train_on_ranks(whole, LADDER) == [0, 0]
    assert interrupt(hit, lambda job: os.kill(second_rank(job), signal.SIGKILL)) != 0
    assert interrupt(hit, lambda job: job.kill()) == -signal.SIGKILL
    assert interrupt(hit, lambda job: job.terminate()) == TERMINATED
    assert start(hit).wait(600) == 0
    assert state(hit, optimizer=False) == state(whole, optimizer=False)
