"""Sweeps on a real Slurm, which the project's own script starts on this machine."""

import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from hydra_plugins.lth_launcher.slurm import check_ranks
from hydra_plugins.lth_launcher.slurm_task import RankTask
from tests.support import own_parts
from tests.support.harness import train_on_ranks
from tests.support.left import state
from tests.support.sweeping import ROOT, output, run_folders, sweep, wait_for

SCRIPT = ROOT / "cluster" / "slurm"
PROGRAMS = os.environ["PATH"] + ":/usr/sbin:/sbin"
RANKS = "hydra/launcher=slurm", "trainer=slurm", "trainer.accelerator=cpu", "hydra.launcher.tasks_per_node=2"
QUICK = *RANKS, "hydra.launcher.poll_seconds=1", "hydra.launcher.slurm_signal_delay_s=60"
LONG = "sparsity=list", "sparsity.densities=[0.5,0.3]", "recipe.epochs=80", "checkpoint_seconds=1000"


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """A Slurm of this machine alone, with four CPUs; its clients find it through SLURM_CONF."""
    for program in ("slurmctld", "slurmd", "munged", "sbatch"):
        if not shutil.which(program, path=PROGRAMS):
            pytest.skip(f"{program} is not installed: cluster/slurm install")
    pytest.importorskip("submitit", reason="submitit is not installed: pip install 'lth[slurm]'")
    if os.getuid():
        pytest.skip("starting Slurm needs root")
    folder = tmp_path_factory.mktemp("slurm")
    environment = {**os.environ, "LTH_CLUSTER": str(folder), "LTH_CLUSTER_PORT": str(_free_ports())}
    subprocess.run([SCRIPT, "start"], env=environment, check=True)
    before = os.environ.get("SLURM_CONF")
    os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
    yield folder
    subprocess.run([SCRIPT, "stop"], env=environment, check=True)
    os.environ.pop("SLURM_CONF")
    if before:
        os.environ["SLURM_CONF"] = before


@pytest.mark.engine
def test_a_preempted_job_is_queued_again_and_ends_with_the_bits_of_an_undisturbed_one(slurm, tmp_path: Path):
    sweeping = sweep(tmp_path, *QUICK, *LONG, "seed=0")
    wait_for(lambda: _epochs(tmp_path, 0) > 3 or sweeping.poll() is not None)
    sweeping.kill()  # the job is Slurm's: it goes on, and the same command finds it
    sweeping.wait()
    subprocess.run(["scancel", "--signal=USR2", _number(tmp_path, 0)], check=True)
    wait_for(lambda: "PENDING" in _states(_number(tmp_path, 0)) or _restarted(tmp_path))
    again = sweep(tmp_path, *QUICK, *LONG, "seed=0")
    assert again.wait() == 0, output(tmp_path)
    assert output(tmp_path).count("already queued as ") == 1
    assert "1 of 1 jobs finished" in output(tmp_path)
    assert _restarted(tmp_path)
    assert [folder.name for folder in run_folders(tmp_path)] == ["seed0"]
    assert train_on_ranks(tmp_path / "whole", [*LONG, "seed=0"]) == [0, 0]
    assert state(run_folders(tmp_path)[0], optimizer=False) == state(tmp_path / "whole", optimizer=False)
    assert sweep(tmp_path, *QUICK, *LONG, "seed=0").wait() == 0
    assert output(tmp_path).count("finished already: ") == 1


@pytest.mark.engine
def test_a_failing_job_ends_all_its_ranks_and_leaves_the_others_alone(slurm, tmp_path: Path):
    three = *QUICK, "sparsity=dense", "method=dense", "recipe.lr=0.1,1e30,-1"
    assert sweep(tmp_path, *three).wait() == 1
    text = output(tmp_path)
    assert "1 of 3 jobs finished" in text, text + _logs(tmp_path)
    assert len(run_folders(tmp_path)) == 1
    failed = [line for line in text.splitlines() if line.startswith("failed: ")]
    assert failed[-1].endswith("recipe.lr=-1: recipe.lr=-1: must be a number over 0")  # refused without a job
    assert "recipe.lr=1e+30: Slurm job" in failed[-2]
    assert "became nan in epoch 0" in Path(failed[-2].split("; see ")[1]).read_text()


@pytest.mark.engine
def test_parts_of_a_users_own_reach_jobs_and_ranks(slurm, tmp_path: Path):
    own_parts.write(tmp_path)
    assert sweep(tmp_path, *QUICK, *own_parts.RUN, "seed=0", defaults=()).wait() == 0, output(tmp_path)
    assert [path.read_text() for path in tmp_path.glob("runs/**/seed0/level_00_*/note")] == ["rank 0 of 2"]


class Stopped(RankTask):
    """A task whose training ends with `code`."""

    def __init__(self, code: int, requeues: int = 1):
        super().__init__(["sh", "-c", f"exit {code}"], ".", grace=0, requeues=requeues)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "rank", "restarts", "asked_slurm"),
    [(75, 0, 0, True), (75, 1, 0, False), (75, 0, 1, None), (3, 0, 0, None)],
)
def test_rank_0_asks_slurm_to_queue_a_stopped_job_again(
    code: int, rank: int, restarts: int, asked_slurm: bool | None, tmp_path: Path, monkeypatch
):
    (tmp_path / "scontrol").write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\n')
    (tmp_path / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    given = {"PROCID": rank, "RESTART_COUNT": restarts, "ARRAY_JOB_ID": 7, "ARRAY_TASK_ID": 2, "JOB_ID": 9}
    for name, value in given.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    if asked_slurm is None:
        with pytest.raises(RuntimeError, match=r"ended with code 3|not queued again"):
            Stopped(code)()
    else:
        assert Stopped(code)() == "requeued"
    asked = tmp_path / "asked"
    assert (asked.read_text().strip() if asked.is_file() else None) == ("requeue 7_2" if asked_slurm else None)


def test_several_tasks_need_the_trainer_slurm():
    from hydra_plugins.lth_launcher.job import Job

    check_ranks([Job([], {}, {"trainer": "slurm"})], {"tasks_per_node": 4})
    check_ranks([Job([], {}, {"trainer": "auto"})], {"tasks_per_node": 1})
    with pytest.raises(ValueError, match=r"4 ranks.*trainer=auto.*trainer=slurm"):
        check_ranks([Job([], {}, {"trainer": "auto"})], {"tasks_per_node": 2, "nodes": 2})


def _number(cwd: Path, seed: int) -> str:
    (line,) = {
        line for line in output(cwd).splitlines() if line.startswith("job ") and line.split()[-1] == f"seed={seed}"
    }
    return line.split()[1].rstrip(":")


def _states(number: str) -> str:
    return subprocess.run(
        ["squeue", "--array", "--noheader", "--format=%T", f"--jobs={number}"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout


def _restarted(cwd: Path) -> bool:
    """Whether rank 0 of the first job resumed from a checkpoint."""
    log = cwd / "runs" / ".sweeps" / "slurm" / f"{_number(cwd, 0)}_0_log.out"
    return "from its last checkpoint" in log.read_text()


def _epochs(cwd: Path, seed: int) -> int:
    return sum(len(path.read_text().splitlines()) for path in cwd.glob(f"runs/**/seed{seed}/metrics.csv"))


def _free_ports() -> int:
    """The first of two neighbouring ports nobody listens on."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("", 0))
            port = first.getsockname()[1]
            try:
                second.bind(("", port + 1))
            except OSError:
                continue
            return port


def _logs(cwd: Path) -> str:
    return "".join(f"\n== {path}\n{path.read_text()}" for path in sorted(cwd.glob("**/*_log.*")))
