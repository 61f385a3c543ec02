"""The metadata of safetensors files, read without their tensors."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open


def has_header(path: str | Path, name: str) -> bool:
    """Whether a safetensors file has the entry `name` in its metadata. The rest of the file is not checked.

    Raises FileNotFoundError.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no file at {path}")
    try:
        with safe_open(str(path), framework="pt") as file:
            return name in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False


def headers(run: Path) -> Iterator[tuple[Path, dict[str, Any] | None]]:
    """The ticket files of a run's levels, each with its header; the header is None for a damaged file."""
    for path in sorted(run.glob("level_*/ticket.safetensors")):
        try:
            with safe_open(str(path), framework="pt") as file:
                header = json.loads(file.metadata()["lth"])
                yield path, header if isinstance(header, dict) else None
        except (SafetensorError, ValueError, KeyError, TypeError, RecursionError):
            yield path, None
