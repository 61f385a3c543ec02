"""Temporary files of processes that were killed while they wrote."""

import os
import re
from collections.abc import Callable
from pathlib import Path

_TEMPORARY = re.compile(r"\.(\d+)\.(.+)")  # `.PID.name`, written by the process PID before it becomes `name`


def remove_left_by_dead(folder: Path, written: Callable[[str], bool]) -> None:
    """Remove the temporary files that processes left in a folder when they were killed within `write_with`.

    written: function from a file name to whether lth writes it in this folder; other files stay

    Files of a process that still exists on this machine stay.
    """
    for path in folder.iterdir() if folder.is_dir() else ():
        match = _TEMPORARY.fullmatch(path.name)
        if match and written(match[2]) and not _alive(int(match[1])):
            path.unlink(missing_ok=True)


def _alive(process: int) -> bool:
    """Whether another process with this id exists. A restarted container may give its processes the same ids again."""
    if process == os.getpid():
        return False
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        return True
    return True
