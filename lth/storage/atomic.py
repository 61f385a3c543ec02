"""Atomic writers: after a crash a file holds its old content or its new content, never a part."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


def write_with(path: Path, write: Callable[[Path], Any]) -> None:
    """Let `write` make a file beside `path`, sync it to disk, then rename it to `path`. Makes missing folders.

    write: is given the temporary path, which ends like `path` (libraries choose the format by the suffix). When it
        raises, the temporary file is removed and `path` stays as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file, atomically; lines end as they do in `text`."""
    write_with(path, lambda temporary: temporary.write_text(text, newline=""))


def write_torch(path: Path, value: Any) -> None:
    """Write `value` with torch.save, atomically."""
    import torch  # imported here: most that is written needs no torch, whose import takes seconds

    def save(temporary: Path) -> None:
        with temporary.open("wb") as file:  # given a path, torch.save would store its name in the archive
            torch.save(value, file)

    write_with(path, save)
