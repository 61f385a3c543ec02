"""Atomic writers: after a crash a file holds its old content or its new content, never a part."""

import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

_DEFERRED = signal.SIGTERM, signal.SIGINT


def write_with(path: Path, write: Callable[[Path], Any]) -> None:
    """Let `write` make a file beside `path`, sync it to disk, then rename it to `path`. Makes missing folders.

    write: function of the temporary path, which ends like `path` (libraries choose the format by the suffix). If it
        raises an error, the temporary file is removed and `path` does not change.

    Raises OSError naming `path` if it cannot be written. Signals that end the process are deferred until the file is
    complete, because libraries convert exceptions of a signal handler into errors of their own.
    """
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    with _signals_deferred(), _errors_name(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write(temporary)
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file, atomically; lines end as they do in `text`."""
    write_with(path, lambda temporary: temporary.write_text(text, encoding="utf-8", newline=""))


def write_torch(path: Path, value: Any) -> None:
    """Write `value` with torch.save, atomically."""
    import torch  # imported here: most that is written needs no torch, whose import takes seconds

    def save(temporary: Path) -> None:
        with temporary.open("wb") as file:  # given a path, torch.save would store its name in the archive
            remembering = _Remembering(file)
            try:
                torch.save(value, remembering)
            except RuntimeError as error:
                raise remembering.error or error from None

    write_with(path, save)


class _Remembering:
    """Keeps the OSError of `write`, which torch.save replaces by a RuntimeError without errno."""

    def __init__(self, file: Any):
        self._file, self.flush = file, file.flush
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            written: int = self._file.write(data)
        except OSError as error:
            self.error = error
            raise
        return written


@contextmanager
def _errors_name(path: Path) -> Iterator[None]:
    """Raise OSError naming `path` for every file-system failure, including those that libraries report as text."""
    try:
        yield
    except Exception as error:
        found = re.search(r"(?:code: |os error )(\d+)", str(error))  # as Rust writes them
        number = error.errno if isinstance(error, OSError) else int(found[1]) if found else None
        if number is None:
            raise
        raise OSError(number, os.strerror(number), str(path)) from error


@contextmanager
def _signals_deferred() -> Iterator[None]:
    """Defer SIGTERM and SIGINT until the block has ended; a second signal is not deferred."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {signum: signal.getsignal(signum) for signum in _DEFERRED}
    before = {signum: handler for signum, handler in handlers.items() if handler not in (signal.SIG_IGN, None)}
    came: list[int] = []

    def restore() -> None:
        for signum, handler in before.items():
            signal.signal(signum, handler)

    def note(signum: int, frame: Any) -> None:
        came.append(signum)
        if len(came) > 1:
            restore()
            signal.raise_signal(came.pop())

    for signum in before:
        signal.signal(signum, note)
    try:
        yield
    finally:
        restore()
        if came:
            signal.raise_signal(came[0])
