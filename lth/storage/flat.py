"""A configuration as one level of dotted keys, with the import paths and keys of this version."""

from collections.abc import Mapping
from typing import Any

from lth.storage.renamed import ADDED, MOVED_KEYS, current_path


def flattened(config: Any) -> dict[str, Any]:
    """Map each dotted key to its value, with the keys of this version.

    Import paths and keys of earlier versions are replaced by the present ones. Keys that were added since have the
    values that keep the results.
    """
    flat = _flat(config, "")
    owners = {k.removesuffix("_target_"): v for k, v in flat.items() if k.endswith("_target_") and isinstance(v, str)}
    for owner, target in owners.items():
        moved = MOVED_KEYS.get(target, {})
        for key in [key for key in flat if moved and key.startswith(owner)]:
            name, dot, rest = key.removeprefix(owner).partition(".")
            if name in moved:
                flat[f"{owner}{moved[name]}{dot}{rest}"] = flat.pop(key)
    of_script = isinstance(config, Mapping) and "settings" in config  # its other keys are the user's
    for owner, target in {**({} if of_script else {"": ""}), **owners}.items():
        for key, value in ADDED.get(target, {}).items():
            flat.setdefault(f"{owner}{key}", value)
    return flat


def _flat(config: Any, prefix: str) -> dict[str, Any]:
    if not isinstance(config, Mapping) or not config:
        return {prefix: _current(config)} if prefix else {}
    flat: dict[str, Any] = {}
    for key, value in config.items():
        flat |= _flat(value, f"{prefix}.{key}" if prefix else str(key))
    return flat


def _current(value: Any) -> Any:
    if isinstance(value, str) and value.startswith("lth."):
        return current_path(value)
    if isinstance(value, list | tuple):
        return [_current(inner) for inner in value]
    if isinstance(value, Mapping):
        return {key: _current(inner) for key, inner in value.items()}
    return value
