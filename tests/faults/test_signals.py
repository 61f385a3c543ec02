"""Signals end a run with the code of their meaning, at any moment, and leave nothing behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lth.storage._temporaries import remove_left_by_dead
from lth.storage.atomic import write_with
from lth.storage.folder import RunFolder
from lth.training import signals
from tests.support.harness import forks


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

    try:
        ProcessLauncher(preload=False).run([Sleeps()])
    except KeyboardInterrupt:
        os._exit(130)
