"""Checks, before anything is built, that every `_target_` of the configuration can be imported."""

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from importlib import import_module
from types import ModuleType
from typing import Any


def check_targets(config: Any) -> None:
    """Raise ValueError for the first `_target_` that cannot be imported. The message has its key and the nearest names.

    config: the resolved configuration, as dicts and lists
    """
    for key, target in _targets(config, ""):
        if isinstance(target, str):
            _check(key, target)


def _targets(config: Any, above: str) -> Iterator[tuple[str, Any]]:
    if isinstance(config, Mapping):
        for key, value in config.items():
            where = f"{above}{key}"
            yield from [(where, value)] if key == "_target_" else _targets(value, f"{where}.")
    elif isinstance(config, Sequence) and not isinstance(config, str):
        for index, value in enumerate(config):
            yield from _targets(value, f"{above}{index}.")


def _check(key: str, target: str) -> None:
    first, *rest = target.split(".")
    found, path = _import(key, target, first), first
    if found is None:
        raise ValueError(f"{key}={target}: there is no module {first}")
    for name in rest:
        below = getattr(found, name, None)
        if below is None and isinstance(found, ModuleType):
            below = _import(key, target, f"{path}.{name}")
        if below is None:
            near = get_close_matches(name, [known for known in dir(found) if not known.startswith("_")], n=3)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise ValueError(f"{key}={target}: {path} has no {name}{hint}")
        found, path = below, f"{path}.{name}"


def _import(key: str, target: str, module: str) -> ModuleType | None:
    """The imported module; None if it does not exist. Raises ValueError if the import fails for another reason."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name == module or "is not a package" in str(error):
            return None
        raise ValueError(f"{key}={target}: {module} cannot be imported: {error}") from error
    except Exception as error:
        raise ValueError(f"{key}={target}: {module} cannot be imported: {type(error).__name__}: {error}") from error
