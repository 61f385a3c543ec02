"""The mark of a finished level's checkpoint without optimizer state. Importing this module does not import torch."""

from pathlib import Path
from zipfile import BadZipFile, ZipFile

MARK = "finished level"  # key of a checkpoint without optimizer state


def is_shrunk(path: Path) -> bool:
    """Whether a checkpoint has the mark. True also where the file is missing or damaged. No tensor is read."""
    if not path.is_file():
        return True
    try:
        with ZipFile(path) as archive:
            name = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
            return MARK.encode() in archive.read(name)
    except (BadZipFile, StopIteration, ValueError, NotImplementedError, EOFError):
        return True
