"""How a checkpoint says that only its finished level's results and weights are left in it. Needs no torch."""

from pathlib import Path
from zipfile import BadZipFile, ZipFile

MARK = "finished level"  # key of a checkpoint without optimizer state


def is_small(path: Path) -> bool:
    """Whether a checkpoint has the mark; True where there is none, or no checkpoint. Reads no tensor."""
    if not path.is_file():
        return True
    try:
        with ZipFile(path) as archive:
            name = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
            return MARK.encode() in archive.read(name)
    except (BadZipFile, StopIteration, ValueError, NotImplementedError, EOFError):
        return True
