"""Whether a safetensors file says that it is of lth."""

from pathlib import Path

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
