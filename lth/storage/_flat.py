"""A configuration as one level of dotted keys, with the import paths and keys of this version."""

from collections.abc import Mapping
from typing import Any

from lth.storage.renamed import MOVED_KEYS, current_path


def flattened(config: Any) -> dict[str, Any]:
    """Map each dotted key to its value; import paths and keys of earlier versions are replaced by the present ones."""
    flat = _flat(config, "")
    moves = {k.removesuffix("_target_"): MOVED_KEYS[v] for k, v in flat.items() if _is_moved(k, v)}
    for owner, moved in moves.items():
        for key in [key for key in flat if key.startswith(owner)]:
            name, dot, rest = key.removeprefix(owner).partition(".")
            if name in moved:
                flat[f"{owner}{moved[name]}{dot}{rest}"] = flat.pop(key)
    return flat


def _flat(config: Any, prefix: str) -> dict[str, Any]:
    if not isinstance(config, Mapping) or not config:
        return {prefix: _current(config)} if prefix else {}
    flat: dict[str, Any] = {}
    for key, value in config.items():
        flat |= _flat(value, f"{prefix}.{key}" if prefix else str(key))
    return flat


def _is_moved(key: str, value: Any) -> bool:
    return key.endswith("._target_") and isinstance(value, str) and value in MOVED_KEYS


def _current(value: Any) -> Any:
    if isinstance(value, str) and value.startswith("lth."):
        return current_path(value)
    if isinstance(value, list | tuple):
        return [_current(inner) for inner in value]
    if isinstance(value, Mapping):
        return {key: _current(inner) for key, inner in value.items()}
    return value
