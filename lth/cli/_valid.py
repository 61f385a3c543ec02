"""Checks a composed configuration against tables of valid values, one for each group of `conf/`.

A table is the file `_valid.yaml` of a group: key -> expression, such as `int >= 1 or null` (lth/cli/_expressions.py). A
key is relative to the group; `*` stands for any name. Where a key means different things in one group, its entry maps
conditions to expressions: `if KEY` holds where the same part of the configuration has KEY, `else` comes last.

The lines of a group hold where the group is composed, and wherever `_target_` is that of one of its options. A key
that takes the value of another key in `conf/` (`rounds: ${method.rounds}`) is checked by that key's line, even if the
user sets it. Keys without a line are the user's own and are not checked.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lth.cli._expressions import Valid, parse, shown
from lth.cli._value_tables import Node, Table, of_package, tables
from lth.cli.run import CONFIGURATIONS

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the loader of libyaml is ten times as fast


@dataclass(frozen=True)
class Entry:
    """A key of a composed configuration.

    key: its path, with dots
    value: what it holds, without interpolations; for a key that is an interpolation, what it points to
    valid: what it may be; None where no table has a line for it
    line: the line, as `group: key`
    interpolated: whether its value is that of another key
    """

    key: str
    value: Any
    valid: Valid | None
    line: str = ""
    interpolated: bool = False


def check(config: DictConfig) -> None:
    """Raise ValueError naming the first key whose value is not valid, its value and what is valid.

    Keys that take the value of another key come last, so that a message names the key that was set.
    """
    for entry in sorted(entries(config), key=lambda entry: entry.interpolated):
        _refuse(entry)


def check_part(package: str, **values: Any) -> None:
    """Raise ValueError naming the first invalid value of a part that Hydra builds itself, such as the launcher.

    package: where the part is composed, such as `hydra.launcher`
    values: keys and values of the part
    """
    for entry in entries_of_part(package, values):
        _refuse(entry)


def entries_of_part(package: str, values: Mapping[str, Any]) -> Iterator[Entry]:
    """Every key of a part that is composed at `package`, such as `method.criterion`, with what its value may be."""
    table = next(table for table in tables() if ".".join(table.package) == package)
    yield from _walk(table.package, values, None, tables(), [table.lines])


def entries(config: DictConfig) -> Iterator[Entry]:
    """Every key of a composed configuration, with what its value may be."""
    raw: Any = OmegaConf.to_container(config, resolve=False)
    every = tables()
    for table in every:
        if len(table.package) == 1 and table.package[0] not in raw:
            yield Entry(table.group, None, Valid(f"an option of the group {table.group}", lambda value: False))
    yield from _walk((), raw, config, every)


def _walk(
    path: tuple[str, ...],
    raw: Mapping[str, Any],
    config: Any,
    every: Sequence[Table],
    active: Sequence[Node] | None = None,
    free: bool = False,
) -> Iterator[Entry]:
    """The keys of the part of a configuration at `path`.

    raw: the part, with its interpolations
    config: the same part of the OmegaConf configuration, which resolves interpolations; None skips keys that hold one
    every: all tables
    active: lines that apply to its keys; None at the top
    free: whether its keys are the user's own and are not checked
    """
    active = [table.lines for table in every if not table.package] if active is None else active
    for name, value in raw.items():
        where, key = (*path, str(name)), ".".join((*path, str(name)))
        if name in _HYDRA:
            yield Entry(key, value, _HYDRA[name], name)
            continue
        lines = [found for line in active for found in [line.below.get(str(name)) or line.below.get("*")] if found]
        group = of_package(where)
        valid = next((valid for line in lines if (valid := line.valid(raw))), _FREE if free else None)
        line = next((line.line for line in lines if line.choices), "")
        if isinstance(value, str) and "${" in value:
            yield from _interpolated(key, name, valid, line, config)
        elif isinstance(value, dict):
            if valid and not valid.accepts(value):
                yield Entry(key, value, valid, line)
            if group and group.whole and not isinstance(value.get("_target_"), str):
                yield Entry(key, value, _option(group))
            inner = [*lines, *_lines_of(value.get("_target_"), group, every)]
            given = config[name] if config is not None else None
            yield from _walk(where, value, given, every, inner, bool(valid and valid.free))
            if not value or valid:
                yield Entry(key, value, valid or (_MAPPING if lines or group else None), line)
        elif valid is None and (group or any(line.below for line in lines)):
            yield Entry(key, value, _option(group) if group else _MAPPING)
        else:
            yield Entry(key, _resolved(value, config, name), valid or _of_pointed(where, bool(active)), line)


@cache
def _pointers() -> tuple[tuple[bool, tuple[str, ...], tuple[str, ...]], ...]:
    """The keys of `conf/` that take the value of another key: (whether the path is whole, path of the key, path
    of the other key).

    In a file that several options start from, such as `_kept_weights`, only the last names of the path are known.
    """
    found = []
    for table in tables():
        for file in (CONFIGURATIONS / table.group).glob("*.yaml") if table.group else ():
            whole = not file.name.startswith("_")
            for path, target in _interpolations(yaml.load(file.read_text(), _LOADER)):
                found.append((whole, (*table.package, *path) if whole else path, target))
    return tuple(found)


def _interpolations(content: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    if isinstance(content, dict):
        for key, value in content.items():
            yield from _interpolations(value, (*path, str(key)))
    elif isinstance(content, str) and (match := re.fullmatch(r"\$\{([a-z_]+(?:\.[a-z_]+)*)\}", content)):
        yield path, tuple(match[1].split("."))


def _of_pointed(where: tuple[str, ...], of_lth: bool) -> Valid | None:
    """What is valid for a key that takes the value of another in `conf/`; None for other keys.

    where: its path
    of_lth: whether the part that has the key is one of lth's
    """
    pointed = {other for whole, path, other in _pointers() if where[-len(path) :] == path and (whole or of_lth)}
    choices = [valid for target in sorted(pointed) for valid in _line_at(target).choices.values()]
    if not choices:
        return None
    says = dict.fromkeys(valid.says for valid in choices)
    return Valid(", or ".join(says), lambda value: any(valid.accepts(value) for valid in choices))


def _line_at(path: tuple[str, ...]) -> Node:
    """The line of the key at `path`; an empty line if no table has one."""
    for table in reversed(tables()):
        if path[: len(table.package)] == table.package:
            at: Node | None = table.lines
            for name in path[len(table.package) :]:
                at = at.below.get(name) if at else None
            if at and at.choices:
                return at
    return Node()


def _lines_of(target: Any, group: Table | None, every: Sequence[Table]) -> list[Node]:
    """The lines that apply to a part because of its place in the configuration or its `_target_`."""
    if group and group.fits(target):
        return [group.lines]
    return [table.lines for table in every if isinstance(target, str) and target in table.targets]


def _interpolated(key: str, name: str, valid: Valid | None, line: str, config: Any) -> Iterator[Entry]:
    if valid is None or config is None:
        return
    try:
        value = config[name]
    except (OmegaConfBaseException, ValueError):  # what is missing is reported where it is used
        return
    plain = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
    yield Entry(key, plain, valid, line, interpolated=True)


def _resolved(value: Any, config: Any, name: str) -> Any:
    """A list with what its interpolations point to; other values as they are."""
    if not isinstance(value, list) or config is None:
        return value
    try:
        return OmegaConf.to_container(config[name], resolve=True)
    except OmegaConfBaseException:
        return value


def _refuse(entry: Entry) -> None:
    missing = isinstance(entry.value, str) and entry.value == "???"  # Hydra reports it
    if entry.valid is not None and not missing and not entry.valid.accepts(entry.value):
        raise ValueError(f"{entry.key}={shown(entry.value)}: must be {entry.valid.says}{_hint(entry)}")


def _hint(entry: Entry) -> str:
    """What the user probably meant: an option of a part, or a density as a fraction; empty if nothing is likely."""
    part = of_package(tuple(entry.key.split(".")))
    if part is not None and "/" in part.group and isinstance(entry.value, str):
        return f"; did you mean {part.group}={entry.value}?"
    values = entry.value if isinstance(entry.value, list) else [entry.value]
    values = [_percent(value) for value in values]
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    if "densit" not in entry.key or not numbers or entry.valid is None:
        return ""
    fractions = [value / 100 for value in values]
    meant = fractions if isinstance(entry.value, list) else fractions[0]
    return f"; densities are fractions: did you mean {shown(meant)}?" if entry.valid.accepts(meant) else ""


def _percent(value: Any) -> Any:
    """The number of a text such as `5%`; other values as they are."""
    number = re.fullmatch(r"(\d+(?:\.\d+)?) ?%", value) if isinstance(value, str) else None
    return float(number[1]) if number else value


def _option(group: Table) -> Valid:
    return Valid(f"an option of {group.group}, chosen by {group.group}=...", lambda value: False)


_FREE, _MAPPING = parse("any"), parse("mapping")
_HYDRA = {  # keys of every part that Hydra builds
    "_target_": parse("text"),
    "_partial_": parse("bool"),
    "_recursive_": parse("bool"),
    "_convert_": parse("one of none, partial, object, all"),
    "_args_": parse("any"),
}
