"""A configuration as one level of dotted keys, with the import paths of this version."""

from collections.abc import Mapping
from typing import Any

from lth.storage.renamed import current_path


def flattened(config: Any, prefix: str = "") -> dict[str, Any]:
    """Map each dotted key to its value; import paths of earlier versions are replaced by the present ones."""
    if not isinstance(config, Mapping) or not config:
        return {prefix: _current(config)} if prefix else {}
    flat: dict[str, Any] = {}
    for key, value in config.items():
        flat |= flattened(value, f"{prefix}.{key}" if prefix else str(key))
    return flat


def _current(value: Any) -> Any:
    if isinstance(value, str) and value.startswith("lth."):
        return current_path(value)
    if isinstance(value, list | tuple):
        return [_current(inner) for inner in value]
    if isinstance(value, Mapping):
        return {key: _current(inner) for key, inner in value.items()}
    return value
