"""Faults at the n-th operation on files below a run's folder, and whether the same command then goes on."""

import builtins
import errno
import io
import os
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lth.cli._errors import short_errors
from lth.cli.run import register_resolvers
from lth.report.output import Row
from tests.support.harness import _run, configuration, forks
from tests.support.left import state

OPERATIONS = ("open", "write", "rename", "fsync", "mkdir")
FAULTS = ("ENOSPC", "EIO", "EROFS", "SIGKILL", "SIGTERM")
CODES = {"SIGKILL": -signal.SIGKILL, "SIGTERM": 128 + signal.SIGTERM}


class Disk:
    """Counts the operations on files below a folder in this process, and fails at one of them.

    folder: the run's
    at: (operation, number of it from 1 on, fault); None counts only
    """

    def __init__(self, folder: Path, at: tuple[str, int, str] | None = None):
        self.folder, self.at = str(folder.resolve()), at
        self.counts: Counter[str] = Counter()
        self.files: dict[int, str] = {}  # by descriptor

    def install(self) -> None:
        """Patch what opens, writes, renames, syncs and makes folders. Not undone: the process is the fault's own."""
        real_open, real_os_open = builtins.open, os.open

        def opened(file: Any, mode: str = "r", *args: Any, **options: Any) -> Any:
            below = isinstance(file, str | os.PathLike) and self.below(file)
            if below and set(mode) & set("wax+"):
                self.meet("open", file)
            found = real_open(file, mode, *args, **options)
            if below and set(mode) & set("wax+"):
                return _Watched(found, lambda: self.meet("write", file))
            return found

        def os_open(path: Any, flags: int, *args: Any, **options: Any) -> int:
            if self.below(path) and flags & (os.O_WRONLY | os.O_RDWR):
                self.meet("open", path)
            descriptor = real_os_open(path, flags, *args, **options)
            self.files[descriptor] = os.fspath(path)
            return descriptor

        builtins.open = io.open = opened
        os.open = os_open
        os.mkdir = self.first("mkdir", os.mkdir)
        os.rename, os.replace = self.first("rename", os.rename), self.first("rename", os.replace)
        real_fsync = os.fsync

        def fsync(descriptor: Any) -> None:
            self.meet("fsync", self.folder)
            real_fsync(descriptor)

        os.fsync = fsync

    def first(self, operation: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, whose first argument is a path; the operation is counted, or fails, before the call."""

        def watched(path: Any, *args: Any, **options: Any) -> Any:
            if self.below(path) and not (operation == "mkdir" and os.path.isdir(path)):  # that makes nothing
                self.meet(operation, path)
            return function(path, *args, **options)

        return watched

    def below(self, path: Any) -> bool:
        return isinstance(path, str | os.PathLike) and os.path.abspath(os.fspath(path)).startswith(self.folder)

    def meet(self, operation: str, path: Any) -> None:
        """Count an operation; at the fault's number raise its error or send its signal."""
        self.counts[operation] += 1
        if self.at is None or (operation, self.counts[operation]) != self.at[:2]:
            return
        fault = self.at[2]
        if fault.startswith("SIG"):
            os.kill(os.getpid(), getattr(signal, fault))
            return
        number = getattr(errno, fault)
        raise OSError(number, os.strerror(number), os.fspath(path))


class _Watched:
    """A file whose writes are counted."""

    def __init__(self, file: Any, before: Callable[[], None]):
        self._file, self._before = file, before

    def write(self, data: Any) -> Any:
        self._before()
        return self._file.write(data)

    def __enter__(self) -> "_Watched":
        self._file.__enter__()
        return self

    def __exit__(self, *args: Any) -> None:
        self._file.__exit__(*args)

    def __iter__(self) -> Any:
        return iter(self._file)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def operations(folder: Path, overrides: Sequence[str]) -> Counter[str]:
    """How often an undisturbed run in `folder` does each operation."""
    counted = folder.parent / f"{folder.name}.counts"
    code, printed = in_process(folder, overrides, None, counted)
    assert code == 0, printed
    return Counter({name: int(count) for name, count in map(str.split, counted.read_text().splitlines())})


def in_process(
    folder: Path,
    overrides: Sequence[str],
    at: tuple[str, int, str] | None = None,
    counted: Path | None = None,
    before: Callable[[], None] | None = None,
) -> tuple[int, str]:
    """Run an experiment in a fork, with a fault; its exit code and what it wrote to standard error.

    counted: file for the numbers of operations
    before: called in the fork before the run
    """
    printed = folder.parent / f"{folder.name}.err"
    process = forks().Process(
        target=_job, args=(configuration(folder, *overrides), folder, at, printed, counted, before)
    )
    process.start()
    process.join()
    assert process.exitcode is not None
    return process.exitcode, printed.read_text() if printed.is_file() else ""


def _job(
    cfg: Any,
    folder: Path,
    at: tuple[str, int, str] | None,
    printed: Path,
    counted: Path | None,
    before: Callable[[], None] | None,
) -> None:
    descriptor = os.open(printed, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, sys.stderr.fileno())
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    register_resolvers()
    disk = Disk(folder, at)
    disk.install()
    if before is not None:
        before()
    try:
        with short_errors():
            _run(cfg)
    except SystemExit as left:
        if isinstance(left.code, str):
            os.write(descriptor, f"{left.code}\n".encode())
        os._exit(left.code if isinstance(left.code, int) else 1)
    except BaseException:
        os.write(descriptor, traceback.format_exc().encode())
        os._exit(1)
    if counted is not None:
        counted.write_text("".join(f"{name} {disk.counts[name]}\n" for name in OPERATIONS))


def try_fault(folder: Path, overrides: Sequence[str], at: tuple[str, int, str], undisturbed: Any) -> str:
    """What is wrong after a fault and the same command again; empty where nothing is.

    folder: new, of the run
    undisturbed: `state` of a run without a fault
    """
    code, printed = in_process(folder, overrides, at)
    fault = at[2]
    expected = CODES.get(fault, 1)
    lines = [line for line in printed.splitlines() if line.startswith("error:")]
    if code != expected:
        return f"exit code {code} for {fault}: {printed[-300:]}"
    if "Traceback" in printed or (code == 1 and (len(lines) != 1 or str(folder) not in lines[0])):
        return f"no one line that names a file: {printed[-600:]}"
    if fault.startswith("SIG") and (folder / "error.txt").exists():
        return f"an error.txt after {fault}: {(folder / 'error.txt').read_text()[:200]}"
    again, printed = in_process(folder, overrides)
    if again != 0:
        return f"the same command ends with {again}: {printed[-600:]}"
    if state(folder) != undisturbed:
        return "other results than the undisturbed run"
    left = [path.name for path in folder.rglob(".[0-9]*")]
    return f"left behind: {left}" if left else ""


def table(found: Sequence[tuple[str, str, str]]) -> list[Row]:
    """Rows of the table: fault, and for each operation the number of points and of those that went wrong.

    found: (fault, operation, what is wrong) of each point
    """
    rows = []
    for fault in FAULTS:
        row: dict[str, Any] = {"fault": fault}
        for operation in OPERATIONS:
            here = [wrong for one, other, wrong in found if (one, other) == (fault, operation)]
            row[operation] = f"{sum(not wrong for wrong in here)} of {len(here)}"
        rows.append(row)
    return rows
