"""Seals: a digest of a file's content and of its place in a run, stored in the file and checked when it is read.

A seal finds changed bits, and files that were copied from another level or another run. It does not protect against
deliberate changes, which can change the seal as well.
"""

import sys
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

KEY = "seal"  # key of the seal in a mapping
_PLAIN = {str, int, float, bool, type(None)}
_TRAILER = "# sha256: "  # the last line of config.yaml starts with it


def sealed(path: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a run's file together with its seal.

    path: the file
    content: its content without a seal
    """
    return {**content, KEY: _seal(path, content)}


def checked(path: Path, content: Any) -> dict[str, Any]:
    """The content of the file `path` of a run, without its seal.

    Raises ValueError for a seal that does not fit, and for a missing one in a run whose config.yaml is sealed. Files of
    earlier versions have no seals.
    """
    if not isinstance(content, Mapping):
        raise ValueError("it holds no mapping")
    rest = {key: value for key, value in content.items() if key != KEY}
    if KEY not in content:
        config = _config_of(path)
        if config is not None and _split(config.read_bytes())[1] is not None:
            raise ValueError("its seal is missing")
        return rest
    if content[KEY] != _seal(path, rest):
        raise ValueError("its seal does not fit: bits have changed, or it was copied from another level or run")
    return rest


def with_trailer(text: str) -> str:
    """A text with a last line that holds its digest; a comment in YAML."""
    return f"{text}{_TRAILER}{sha256(text.encode()).hexdigest()}\n"


def check_trailer(data: bytes) -> None:
    """Raise ValueError where the last line of a file does not fit the rest. Earlier versions wrote no such line."""
    text, digest = _split(data)
    if digest is not None and digest != sha256(text).hexdigest():
        raise ValueError("its checksum does not fit")


def _split(data: bytes) -> tuple[bytes, str | None]:
    """The text before the last line, and the digest in the last line or None."""
    text, mark, digest = data.rpartition(_TRAILER.encode())
    return (text, digest.decode(errors="replace").strip()) if mark else (data, None)


def _seal(path: Path, content: Mapping[str, Any]) -> str:
    digest = sha256(_place(path).encode())
    _feed(digest, content)
    return digest.hexdigest()


def _config_of(path: Path) -> Path | None:
    """The config.yaml of the run that a file lies in."""
    return next((f / "config.yaml" for f in (path.parent, path.parent.parent) if (f / "config.yaml").is_file()), None)


def _place(path: Path) -> str:
    """The run, by the digest of its config.yaml, and the path in its folder; the name alone outside of a run."""
    config = _config_of(path)
    if config is None:
        return path.name
    return f"{sha256(config.read_bytes()).hexdigest()} {path.relative_to(config.parent).as_posix()}"


def _feed(digest: Any, value: Any) -> None:
    """Add a value to a digest: tensors by their bytes, containers by their items, other values by their `repr`."""
    if type(value) in _PLAIN:  # checked first, because most values are plain
        digest.update(repr(value).encode())
    elif hasattr(value, "untyped_storage"):  # a tensor; torch is not imported here
        digest.update(f"tensor {value.dtype} {list(value.shape)}".encode())
        flat = value.detach().cpu().contiguous().flatten()
        digest.update(flat.view(dtype=sys.modules["torch"].uint8).numpy())
    elif isinstance(value, Mapping):
        digest.update(f"mapping {len(value)}".encode())
        for key, inner in value.items():
            digest.update(repr(key).encode())
            _feed(digest, inner)
    elif isinstance(value, list | tuple):
        digest.update(f"list {len(value)}".encode())
        for inner in value:
            _feed(digest, inner)
    elif isinstance(value, set | frozenset):
        digest.update(repr(sorted(map(repr, value))).encode())
    else:
        digest.update(repr(value).encode())
