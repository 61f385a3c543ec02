"""Signals end a run with the code of their meaning, at any moment, and leave nothing behind."""

import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from lth.storage._temporaries import remove_left_by_dead
from lth.storage.atomic import write_with
from lth.storage.folder import RunFolder
from lth.training import signals
from tests.support.commands import ROOT, run_py
from tests.support.harness import SMALL, forks
from tests.support.left import state


@pytest.fixture(autouse=True)
def handlers():
    """The process's own handlers come back."""
    before = {signum: signal.getsignal(signum) for signum in (*signals.SIGNALS, signal.SIGTERM, signal.SIGINT)}
    yield
    for signum, handler in before.items():
        signal.signal(signum, handler)
    signals._noted.clear()
    signals._stopping.clear()


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_within_a_save_waits_until_the_file_is_whole(signum, tmp_path: Path):
    signals.listen()

    def write(path):
        os.kill(os.getpid(), signum)
        path.write_text("whole")

    with pytest.raises((SystemExit, KeyboardInterrupt)):
        write_with(tmp_path / "file", write)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "whole"


def test_a_second_signal_does_not_wait(tmp_path: Path):
    signals.listen()

    def write(path):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("the second one was deferred too")

    with pytest.raises(KeyboardInterrupt):
        write_with(tmp_path / "file", write)


def test_an_error_that_a_library_made_of_a_signal_is_the_signal_again():
    signals.listen()

    @signals.stopped_by_signals()
    def save():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except SystemExit:
            raise RuntimeError("unexpected pos 64 vs 0") from None

    with pytest.raises(SystemExit) as left:
        save()
    assert left.value.code == signals.TERMINATED


@pytest.mark.parametrize("signum", signals.SIGNALS)
def test_before_training_nothing_is_saved_and_the_code_asks_for_another_start(signum):
    signals.listen(training=False)
    with pytest.raises(SystemExit) as left:
        os.kill(os.getpid(), signum)
    assert left.value.code == signals.AGAIN


def test_temporaries_of_dead_writers_go_and_others_stay(tmp_path: Path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    names = f".{dead.pid}.last.ckpt", f".{os.getppid()}.last.ckpt", f".{dead.pid}.mine", ".2024.backup"
    for name in names:
        (tmp_path / name).touch()
    remove_left_by_dead(tmp_path, lambda name: name == "last.ckpt")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names[1:])


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_claim_removes_what_dead_writers_left(overwrite, tmp_path: Path):
    folder = RunFolder(tmp_path)
    folder.claim({"a": 1}, {})
    left = tmp_path / f".{os.getpid()}.rewind.ckpt", tmp_path / "level_00_dense" / f".{os.getpid()}.last.ckpt"
    left[1].parent.mkdir()
    for path in left:
        path.touch()
    folder.claim({"a": 1}, {}, overwrite=overwrite)
    assert not any(path.exists() for path in left)


CODES = {signal.SIGTERM: signals.TERMINATED, signal.SIGINT: 130, signal.SIGUSR1: signals.AGAIN}


@pytest.mark.slow
@pytest.mark.parametrize("signum", CODES)
def test_a_command_that_is_still_importing_ends_with_the_code_of_the_signal(signum, tmp_path: Path):
    command = [sys.executable, str(ROOT / "run.py"), *SMALL, f"folder={tmp_path / 'run'}"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, preexec_fn=_with_default_handlers, text=True) as process:
        _wait_until_importing(process.pid)
        process.send_signal(signum)
        printed = process.communicate(timeout=60)[1]
    assert process.returncode == CODES[signum], printed
    assert len(printed.splitlines()) <= 1
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_command_that_trains_ends_with_the_code_of_the_signal_and_goes_on(tmp_path: Path):
    overrides = *SMALL, "method=dense", "sparsity=dense", "recipe.epochs=60"
    assert run_py(*overrides, f"folder={tmp_path / 'whole'}").returncode == 0
    run = tmp_path / "run"
    for signum, code in CODES.items():
        before = _saved(run)
        process = forks().Process(target=_command, args=((*overrides, f"folder={run}"), str(tmp_path / "printed")))
        process.start()
        until = time.monotonic() + 60
        while _saved(run) <= before and process.is_alive() and time.monotonic() < until:
            time.sleep(0.005)
        os.kill(process.pid, signum)
        process.join(60)
        printed = (tmp_path / "printed").read_text()
        assert (process.exitcode, len(printed.splitlines()) <= 1) == (code, True), printed
        assert not (run / "error.txt").exists()
    assert run_py(*overrides, f"folder={run}").returncode == 0
    assert state(run) == state(tmp_path / "whole")


STARTS_A_RANK = """
import os, subprocess, sys
ranked = {**os.environ, "LOCAL_RANK": "1", "LTH_PARENT": str(os.getpid())}
rank = subprocess.Popen(sys.argv[1:], env=ranked)
print(rank.pid, flush=True)
rank.wait()
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux ends a process with its parent")
def test_a_rank_that_is_still_importing_dies_with_its_parent(tmp_path: Path):
    command = [sys.executable, str(ROOT / "run.py"), *SMALL, f"folder={tmp_path / 'run'}"]
    parent = subprocess.Popen([sys.executable, "-c", STARTS_A_RANK, *command], stdout=subprocess.PIPE, text=True)
    rank = int(parent.stdout.readline())
    _wait_until_importing(rank)
    parent.kill()
    parent.wait()
    until = time.monotonic() + 1
    while _alive(rank) and time.monotonic() < until:
        time.sleep(0.01)
    assert not _alive(rank)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux ends a process with its parent")
@pytest.mark.parametrize(
    ("environment", "code"),
    [
        ({"LOCAL_RANK": "1", "LTH_PARENT": "1"}, -signal.SIGKILL),  # the named process is not the parent
        ({"LOCAL_RANK": "0", "LTH_PARENT": "1"}, 0),  # rank 0 of a machine is not started by another rank
        ({"LTH_PARENT": "1"}, 0),
        ({"LOCAL_RANK": "1"}, 0),
    ],
)
def test_only_a_started_rank_without_its_named_parent_is_killed(environment: dict, code: int):
    listens = "from lth.training.signals import listen; listen(training=False)"
    process = subprocess.run([sys.executable, "-c", listens], env={**os.environ, **environment}, cwd=ROOT, check=False)
    assert process.returncode == code


def _with_default_handlers() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell's background jobs ignore it, and what they start too


def _wait_until_importing(pid: int) -> None:
    """Until a process has begun to load torch."""
    until = time.monotonic() + 60
    while "libtorch" not in Path(f"/proc/{pid}/maps").read_text():
        assert time.monotonic() < until
        time.sleep(0.01)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _saved(run: Path) -> int:
    return max((path.stat().st_mtime_ns for path in run.glob("level_*/last.ckpt")), default=0)


def _command(arguments: tuple[str, ...], printed: str) -> None:
    """`python run.py ...` in this process, its errors written to a file."""
    os.dup2(os.open(printed, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), sys.stderr.fileno())
    sys.argv = [str(ROOT / "run.py"), *arguments]
    runpy.run_path(sys.argv[0], run_name="__main__")


@pytest.mark.slow
def test_a_sweep_that_is_interrupted_ends_its_jobs(tmp_path: Path):
    cfg = str(tmp_path)
    sweep = forks().Process(target=_sweep, args=(cfg,))
    sweep.start()
    pids = tmp_path / "pid"
    until = time.monotonic() + 60
    while not pids.exists() and time.monotonic() < until:
        time.sleep(0.1)
    os.kill(sweep.pid, signal.SIGINT)
    sweep.join(30)
    assert sweep.exitcode == 130
    with pytest.raises(ProcessLookupError):
        os.kill(int(pids.read_text()), 0)


def _sweep(folder: str) -> None:
    from hydra_plugins.lth_launcher.processes import ProcessLauncher

    class Sleeps:
        command = [
            sys.executable,
            "-c",
            f"import os, time; open({folder!r} + '/new', 'w').write(str(os.getpid()));"
            f"os.rename({folder!r} + '/new', {folder!r} + '/pid'); time.sleep(100)",
        ]

    launcher = ProcessLauncher(preload=False)
    launcher.config = OmegaConf.create({"hydra": {"sweep": {"dir": folder}}})
    try:
        launcher.run([Sleeps()])
    except KeyboardInterrupt:
        os._exit(130)


def test_a_rank_names_its_parent_to_those_it_starts_and_to_nobody_later(monkeypatch):
    """A process that inherited the number of a parent that has ended would kill itself as a rank left alone."""
    monkeypatch.delenv("LTH_PARENT", raising=False)
    launch = signals._naming_the_parent(lambda: os.environ["LTH_PARENT"])
    assert launch() == str(os.getpid())
    assert "LTH_PARENT" not in os.environ

    def failing():
        raise OSError("no port")

    with pytest.raises(OSError, match="no port"):
        signals._naming_the_parent(failing)()
    assert "LTH_PARENT" not in os.environ
