"""Sweeps on this machine: a fresh process a job, a folder a job, and nothing done twice."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from filelock import FileLock, Timeout
from matplotlib.figure import Figure

from hydra_plugins.lth_launcher.forks import run_all
from hydra_plugins.lth_launcher.job import Job, without_overwrite
from tests.support.harness import train
from tests.support.left import curves, rows, state
from tests.support.sweeping import ROOT, output, run_folders, sweep, wait_for

LADDER = "sparsity=list", "sparsity.densities=[0.5,0.3]"


@pytest.mark.engine
def test_jobs_started_in_the_same_second_get_folders_of_their_own_and_are_not_run_again(tmp_path: Path):
    eight = "hydra.launcher.jobs=8", "method=dense", "sparsity=dense", "recipe.epochs=1", "seed=range(8)"
    assert sweep(tmp_path, *eight).wait() == 0, output(tmp_path)
    assert "8 of 8 jobs finished" in output(tmp_path)
    assert len(run_folders(tmp_path)) == len(set(run_folders(tmp_path))) == 8
    stamps = {folder: (folder / "curve.png").stat().st_mtime_ns for folder in run_folders(tmp_path)}
    assert sweep(tmp_path, *eight).wait() == 0
    assert output(tmp_path).count("finished already: ") == 8
    assert stamps == {folder: (folder / "curve.png").stat().st_mtime_ns for folder in run_folders(tmp_path)}


@pytest.mark.engine
def test_a_sweep_killed_as_a_whole_finishes_only_what_was_unfinished(tmp_path: Path):
    three = *LADDER, "recipe.epochs=12", "seed=0,1,2"
    first = sweep(tmp_path, *three)
    wait_for(lambda: list(tmp_path.glob("runs/**/seed1/metrics.csv")) or first.poll() is not None)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    (done,), (second,) = run_folders(tmp_path), [path.parent for path in tmp_path.glob("runs/**/seed1/metrics.csv")]
    wait_for(lambda: _free(second), 10)  # the job at work died with its sweep
    time.sleep(1)
    assert len(run_folders(tmp_path)) == 1
    stamps = {path: path.stat().st_mtime_ns for path in done.rglob("last.ckpt")}
    assert sweep(tmp_path, *three).wait() == 0, output(tmp_path)
    assert output(tmp_path).count("finished already: ") == 1
    assert {path: path.stat().st_mtime_ns for path in done.rglob("last.ckpt")} == stamps
    assert [folder.name for folder in run_folders(tmp_path)] == ["seed0", "seed1", "seed2"]
    train(tmp_path / "whole", *LADDER, "recipe.epochs=12", "seed=1")
    assert state(second, optimizer=False) == state(tmp_path / "whole", optimizer=False)


@pytest.mark.engine
def test_an_interrupted_sweep_leaves_no_job_at_work(tmp_path: Path):
    whole = sweep(tmp_path, *LADDER, "recipe.epochs=1000", "seed=0,1", "hydra.launcher.jobs=2")
    wait_for(lambda: len(list(tmp_path.glob("runs/**/last.ckpt"))) == 2 or whole.poll() is not None)
    os.kill(whole.pid, signal.SIGINT)  # to the parent alone, as by `kill -INT`
    assert whole.wait(120) == 130
    assert "stopped; run the same command again to resume from the last checkpoint" in output(tmp_path)
    assert not list(tmp_path.rglob("error.txt"))
    wait_for(lambda: all(_free(path.parents[1]) for path in tmp_path.glob("runs/**/last.ckpt")), 10)


@pytest.mark.engine
def test_a_sweep_of_distributed_jobs_is_planned_once_not_once_a_rank(tmp_path: Path):
    assert sweep(tmp_path, "trainer=ddp_cpu", *LADDER, "seed=0,1").wait() == 0, output(tmp_path)
    assert output(tmp_path).count("jobs finished") == 1
    assert len([line for line in output(tmp_path).splitlines() if line.startswith("finished: ")]) == 2
    assert len(run_folders(tmp_path)) == 2
    for folder in run_folders(tmp_path):  # each epoch and level once: a second sweep would have begun again
        assert [row["level"] for row in rows(folder)] == ["0", "1", "2"]
        assert len(curves(folder)) == 9


@pytest.mark.engine
@pytest.mark.parametrize("launcher", ["processes", "basic"])
def test_an_experiment_that_is_a_sweep_itself_plans_it_once(launcher: str, tmp_path: Path):
    """Its jobs name the experiment too; each has to be one run of it, and the verdict comes once, at the end."""
    small = "method.at=[0.8]", "sparsity.density=0.8", "recipe.epochs=1", "dataset.train_count=200"
    small += "method.settings=[lt_omp,rr_omp]", "seed=0,1", "model.widths=[8]"
    chosen = "experiment=own/digits_checks", f"hydra/launcher={launcher}"
    command = [sys.executable, str(ROOT / "run.py"), *chosen, *small]
    with (tmp_path / "output").open("wb") as file:
        sweep_of_checks = subprocess.Popen(command, cwd=tmp_path, stdout=file, stderr=file, start_new_session=True)
    try:
        assert sweep_of_checks.wait(300) == 0, output(tmp_path)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(sweep_of_checks.pid, signal.SIGKILL)
    assert len(run_folders(tmp_path)) == 4
    verdict = (tmp_path / "runs/digits/mlp/verdict/verdict.txt").read_text()
    assert output(tmp_path).count(verdict.splitlines()[0]) == 1


@pytest.mark.engine
def test_a_fork_computes_what_a_process_that_imports_everything_itself_does(tmp_path: Path):
    left = {}
    for preload in (True, False):
        cwd = tmp_path / str(preload)
        cwd.mkdir()
        given = "recipe.epochs=1", "recipe.mixup=0.2", "method=imp"
        density = "sparsity.density=0.8"
        assert sweep(cwd, f"hydra.launcher.preload={preload}", *given, density).wait() == 0, output(cwd)
        left[preload] = [state(folder) for folder in run_folders(cwd)]
    assert len(left[True]) == 1
    assert left[True] == left[False]


PROBE = """
import json, os, random, signal, sys, numpy, torch
fresh = dict(cuda=torch.cuda.is_initialized(), bad_fork=torch.cuda._is_in_bad_fork(),
             os_threads=len(os.listdir("/proc/self/task")), threads=torch.get_num_threads(),
             interop=torch.get_num_interop_threads(), cwd=os.getcwd(), argv=sys.argv[1:],
             sigint=signal.getsignal(signal.SIGINT) is signal.default_int_handler,
             env=os.environ["PROBE"], drawn=torch.rand(3).tolist(), python=random.random(),
             numpy=numpy.random.rand(), grad=torch.is_grad_enabled(), dtype=str(torch.get_default_dtype()))
json.dump(fresh, open(sys.argv[1], "w"))
sys.exit(int(sys.argv[2]))
"""


@pytest.mark.slow
def test_a_fork_begins_as_a_fresh_process_does(tmp_path: Path, monkeypatch):
    (tmp_path / "probe.py").write_text(PROBE)
    monkeypatch.setenv("PROBE", "handed on")
    monkeypatch.chdir(tmp_path)
    commands = [[sys.executable, str(tmp_path / "probe.py"), name, code] for name, code in (("a", "0"), ("b", "3"))]
    begun: list[int] = []
    assert run_all(commands, 2, begun.append) == [0, 3]
    assert begun == [0, 1]
    assert subprocess.run([*commands[0][:2], "alone", "0"], check=False).returncode == 0
    a, b, alone = (json.loads((tmp_path / name).read_text()) for name in ("a", "b", "alone"))
    for drawn in ("python", "numpy", "drawn"):  # without a seed each job draws its own numbers
        assert len({str(probe.pop(drawn)) for probe in (a, b, alone)}) == 3
    assert [probe.pop("argv") for probe in (a, b)] == [["a", "0"], ["b", "3"]]
    del alone["argv"]
    assert a["os_threads"] == 1
    alone["os_threads"] = 1  # numpy's own, which importing starts and no fork inherits
    assert a["sigint"]  # Ctrl-C ends a job, and not the process that it is forked from
    assert a == b == alone


PARENT = """
import sys
from pathlib import Path
from hydra_plugins.lth_launcher._sweep_screen import SweepScreen
from hydra_plugins.lth_launcher.job import Job
from hydra_plugins.lth_launcher.processes import _run
sys.argv = sys.argv[1:]
_run([], SweepScreen([Job(sys.argv[1:])], 1, Path(sys.argv[1]).parent), 0)
"""


@pytest.mark.slow
def test_a_job_that_is_no_fork_dies_with_its_sweep_too(tmp_path: Path):
    script = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(100)"
    (tmp_path / "job.py").write_text(script)
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path / "job.py"), str(tmp_path / "pid")])
    wait_for(lambda: ((tmp_path / "pid").is_file() and (tmp_path / "pid").read_text()) or parent.poll() is not None)
    job = Path("/proc") / (tmp_path / "pid").read_text()
    assert job.exists()
    parent.kill()
    parent.wait()
    wait_for(lambda: not job.exists() or "Z" in (job / "stat").read_text().split()[2], 10)


def test_a_job_is_skipped_only_when_its_folder_holds_this_very_configuration_whole(tmp_path: Path):
    def job(**changes) -> Job:
        return Job([], {"folder": str(tmp_path), "overwrite": False, "seed": 0, **changes})

    assert not job().finished()
    (tmp_path / "config.yaml").write_text(f"config: {json.dumps(job().config)}\nrecord: null\nlevels: 2\n")
    (tmp_path / "results.csv").write_text("level,val_accuracy,test_accuracy\n0,0.5,0.4\n1,,0.25\n")
    for level in (0, 1):
        assert not job().finished()  # killed before its last level
        assert job().score() is None
        (tmp_path / f"level_0{level}_train").mkdir()
        assert not job().finished()  # killed within a level
        (tmp_path / f"level_0{level}_train" / "finished").touch()
    assert job().score() == 0.25
    assert not job().finished()  # killed before it drew its picture: started again, it only draws
    for name in ("curve.png", "topology.png"):
        Figure().savefig(tmp_path / name)
        assert job().finished()
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
        (tmp_path / "topology.csv").touch()
        assert not job().finished()
        (tmp_path / name).write_bytes(whole)
    assert job().finished()
    assert not job(seed=1).finished()
    assert not job(overwrite=True).finished()
    assert job(threads=4).finished()  # where and how, not what
    assert not Job([]).finished()


def test_a_job_started_again_by_an_engine_wipes_nothing():
    command = ["python", "run.py", "overwrite=true"]
    assert without_overwrite(command, 0) == command
    assert without_overwrite(command, 1)[-1] == "overwrite=false"


def _free(folder: Path) -> bool:
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    lock.release()
    return True
