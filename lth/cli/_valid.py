"""Valid values: a table beside each group of `conf/` gives them, and a composed configuration is checked against them.

A table is the file `_valid.yaml` of a group: key -> expression, such as `int >= 1 or null` or `number in (0, 1]`. A key
is relative to the group; `*` stands for any name. Where a key means different things in one group, its entry maps
conditions to expressions: `if KEY` holds where the same part of the configuration has KEY, `else` comes last.

The lines of a group hold where the group is composed, and wherever `_target_` is that of one of its options. Keys
without a line are the user's own and are not checked.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from math import isfinite
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

_CONFIGURATIONS = next(
    filter(Path.is_dir, (Path(__file__).parents[1] / "conf", Path(__file__).parents[2] / "conf")),
    Path(__file__).parents[1] / "conf",
)
_LONGEST_INT = 2**63 - 1
_LONGEST_NAME, _LONGEST_PATH = 255, 3000  # bytes; a run's own files lie below its folder
_LONGEST_SHOWN = 80  # characters of a value in a message
_POINT = re.compile(r"[0-9]{1,18}(it|ep)?|[0-9]{1,3}(\.[0-9]+)?%")
_RANGE = re.compile(r"(?P<sign>>=|>) (?P<one>\S+)|in (?P<left>[\[(])(?P<low>[^,]+), (?P<high>[^\])]+)(?P<right>[\])])")


@dataclass(frozen=True)
class Valid:
    """What a value may be.

    says: in words, for messages
    accepts: whether a value is valid
    """

    says: str
    accepts: Callable[[Any], bool]


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
    """The same for the values of a part that Hydra builds itself, such as the launcher.

    package: where it is composed, such as `hydra.launcher`
    """
    for name in reversed(package.split(".")):
        values = {name: values}
    for entry in _walk((), values, None, [table for table in tables() if table.package]):
        _refuse(entry)


def entries(config: DictConfig) -> Iterator[Entry]:
    """Every key of a composed configuration, with what its value may be."""
    raw: Any = OmegaConf.to_container(config, resolve=False)
    every = tables()
    for table in every:
        if len(table.package) == 1 and table.package[0] not in raw:
            yield Entry(table.group, None, Valid(f"an option of the group {table.group}", lambda value: False))
    yield from _walk((), raw, config, every)


def parse(expression: str) -> Valid:
    """The meaning of an expression. Raises ValueError for one that is not in the language of the tables."""
    alternatives = [_alternative(text.strip()) for text in expression.split(" or ")]
    says = [alternative.says for alternative in alternatives]
    joined = says[0] if len(says) == 1 else ", ".join(says[:-1]) + (", or " if " " in says[-2] else " or ") + says[-1]
    return Valid(joined, lambda value: any(alternative.accepts(value) for alternative in alternatives))


@dataclass
class _Lines:
    """Lines of a table by the names of a key's path."""

    below: dict[str, "_Lines"] = field(default_factory=dict)
    choices: dict[str, Valid] = field(default_factory=dict)  # condition -> what is valid
    line: str = ""

    def add(self, key: str, expressions: str | Mapping[str, str], group: str) -> None:
        at = self
        for name in key.split("."):
            at = at.below.setdefault(name, _Lines())
        given = {"else": expressions} if isinstance(expressions, str) else expressions
        at.choices = {condition: parse(expression) for condition, expression in given.items()}
        at.line = f"{group}: {key}"

    def valid(self, beside: Mapping[str, Any]) -> Valid | None:
        """What is valid where the keys `beside` are given."""
        for condition, valid in self.choices.items():
            if condition == "else" or condition.removeprefix("if ") in beside:
                return valid
        return None


@dataclass(frozen=True)
class Table:
    """The lines of a group.

    group: its folder in `conf/`; empty for the keys outside of groups
    targets: `_target_` of its options
    whole: whether each of its options has a `_target_`
    lines: of its `_valid.yaml`
    """

    group: str
    targets: frozenset[str]
    whole: bool
    lines: _Lines

    @property
    def package(self) -> tuple[str, ...]:
        """Where the group is composed."""
        return tuple(self.group.split("/")) if self.group else ()

    def fits(self, target: Any) -> bool:
        """Whether its lines hold for a part with `target`: one of its own, or of the same libraries."""
        libraries = {own.partition(".")[0] for own in self.targets}
        return not libraries or not isinstance(target, str) or target.partition(".")[0] in libraries


@cache
def tables() -> tuple[Table, ...]:
    """The tables of all groups, and that of the keys outside of groups."""
    folders = [path for path in sorted(_CONFIGURATIONS.rglob("*")) if path.is_dir()]
    groups = [path.relative_to(_CONFIGURATIONS).as_posix() for path in folders if any(path.glob("*.yaml"))]
    return tuple(map(_table, ["", *(group for group in groups if group.partition("/")[0] != "experiment")]))


def _table(group: str) -> Table:
    folder = _CONFIGURATIONS / group
    lines = _Lines()
    if (folder / "_valid.yaml").is_file():
        for key, expressions in (yaml.safe_load((folder / "_valid.yaml").read_text()) or {}).items():
            lines.add(key, expressions, group)
    texts = [path.read_text() for path in folder.glob("*.yaml") if group and path.name != "_valid.yaml"]
    found = [re.search(r"^_target_: (\S+)", text, re.MULTILINE) for text in texts]
    based = [re.search(r"^  - _?[a-z]\w*$", text, re.MULTILINE) for text in texts]
    whole = all(target or base for target, base in zip(found, based, strict=True)) and any(found)
    return Table(group, frozenset(target[1] for target in found if target), whole, lines)


def _walk(
    path: tuple[str, ...],
    raw: Mapping[str, Any],
    config: Any,
    every: Sequence[Table],
    active: Sequence[_Lines] | None = None,
    free: bool = False,
) -> Iterator[Entry]:
    """The keys of the part of a configuration at `path`.

    raw: the part, with its interpolations
    config: the part, which resolves them; None where there are none
    every: all tables
    active: lines that hold for its keys; None at the top
    free: whether a line leaves everything in it to the user
    """
    active = [table.lines for table in every if not table.package] if active is None else active
    for name, value in raw.items():
        where, key = (*path, str(name)), ".".join((*path, str(name)))
        if name in _HYDRA:
            yield Entry(key, value, _HYDRA[name], name)
            continue
        lines = [found for line in active for found in [line.below.get(str(name)) or line.below.get("*")] if found]
        group = next((table for table in every if table.package and table.package == where), None)
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
            yield from _walk(where, value, given, every, inner, bool(valid and valid.accepts(value)))
            if not value or valid:
                yield Entry(key, value, valid or (_MAPPING if lines or group else None), line)
        elif valid is None and (group or any(line.below for line in lines)):
            yield Entry(key, value, _option(group) if group else _MAPPING)
        else:
            yield Entry(key, _resolved(value, config, name), valid, line)


def _lines_of(target: Any, group: Table | None, every: Sequence[Table]) -> list[_Lines]:
    """The lines that hold for a part because of where it stands and of its `_target_`."""
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
        raise ValueError(f"{entry.key}={_shown(entry.value)}: must be {entry.valid.says}")


def _shown(value: Any) -> str:
    """A value as it is written on a command line, cut to one line."""
    if isinstance(value, str):
        plain = re.fullmatch(r"[^\s'\"{}\[\]]+", value) and isinstance(yaml.safe_load(f"- {value}")[0], str | bool)
        text = value if plain and value not in ("true", "false") else repr(value)
    elif isinstance(value, dict):
        text = "{" + ", ".join(f"{key}: {_shown(inner)}" for key, inner in value.items()) + "}"
    elif isinstance(value, list):
        text = "[" + ", ".join(map(_shown, value)) + "]"
    else:
        text = {True: "true", False: "false", None: "null"}[value] if value is None or value is True or value is False else str(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 3]}..."


def _alternative(text: str) -> Valid:
    many = re.fullmatch(r"(list|rising list|pair|map) of (.+)", text)
    if many:
        return _MANY[many[1]](_alternative(many[2]))
    number = re.fullmatch(r"(int|number)(?: (.+))?", text)
    if number:
        return _number(number[1], number[2] or "")
    if text.startswith("one of "):
        return _one_of([_word(word) for word in text.removeprefix("one of ").split(", ")])
    if text not in _WORDS:
        raise ValueError(f"the expression {text!r} is not in the language of the tables: {', '.join(_WORDS)}, ...")
    return _WORDS[text]


def _number(kind: str, limits: str) -> Valid:
    found = _RANGE.fullmatch(limits)
    if limits and not found:
        raise ValueError(f"{limits!r} is not a range such as >= 0, > 0, in [0, 1) or in (0, 1]")
    low, high, says = float("-inf"), float("inf"), ""
    open_low = open_high = False
    if found and found["sign"]:
        low, open_low = _bound(found["one"]), found["sign"] == ">"
        says = f" over {low:g}" if open_low else f" of {low:g} or more"
    elif found:
        low, high = _bound(found["low"]), _bound(found["high"])
        open_low, open_high = found["left"] == "(", found["right"] == ")"
        least = f"over {low:g}" if open_low else f"at least {low:g}"
        most = f"under {high:.15g}" if open_high else f"at most {high:.15g}"
        says = f" {least} and {most}"

    def accepts(value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, int if kind == "int" else int | float):
            return False
        if (isinstance(value, float) and not isfinite(value)) or abs(value) > _LARGEST[type(value)]:
            return False
        return (low < value if open_low else low <= value) and (value < high if open_high else value <= high)

    return Valid(f"a {'whole number' if kind == 'int' else 'number'}{says}", accepts)


_LARGEST: dict[type, float] = {int: _LONGEST_INT, float: float("inf")}


def _bound(text: str) -> float:
    number, _, cores = text.partition(" * ")
    return float(number) * ((os.cpu_count() or 1) if cores == "cores" else 1)


def _word(text: str) -> Any:
    """A word of `one of`: true, false and whole numbers are not text."""
    if text in ("true", "false"):
        return text == "true"
    return int(text) if re.fullmatch(r"-?[0-9]+", text) else text


def _one_of(words: Sequence[Any]) -> Valid:
    listed = ", ".join(map(_shown, words))
    return Valid(
        f"one of {listed}" if len(words) > 1 else listed,
        lambda value: any(type(value) is type(word) and value == word for word in words),
    )


def _list_of(valid: Valid) -> Valid:
    return Valid(f"a list, each {valid.says}", lambda v: isinstance(v, list) and all(map(valid.accepts, v)))


def _rising(valid: Valid) -> Valid:
    def accepts(value: Any) -> bool:
        return _list_of(valid).accepts(value) and all(a < b for a, b in pairwise(value))

    return Valid(f"a list that rises, each {valid.says}", accepts)


def _pair(valid: Valid) -> Valid:
    return Valid(f"a list of two, each {valid.says}", lambda v: _list_of(valid).accepts(v) and len(v) == 2)


def _map(valid: Valid) -> Valid:
    return Valid(
        f"a mapping, each value {valid.says}", lambda v: isinstance(v, dict) and all(map(valid.accepts, v.values()))
    )


def _option(group: Table) -> Valid:
    return Valid(f"an option of {group.group}, chosen by {group.group}=...", lambda value: False)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip()) and value.isprintable()


def _is_path(value: Any) -> bool:
    return _is_text(value) and len(os.fsencode(value)) <= _LONGEST_PATH


def _is_point(value: Any) -> bool:
    if isinstance(value, int) and not isinstance(value, bool):
        return 0 <= value <= _LONGEST_INT
    return isinstance(value, str) and bool(_POINT.fullmatch(value))


def _can_be_a_folder(value: Any) -> bool:
    """Whether a run's files may be written at a path: it is a folder, or can be made as one."""
    if not _is_path(value):
        return False
    try:
        path = Path(value).resolve()
        above = next(folder for folder in (path, *path.parents) if os.path.lexists(folder))
        names = max(len(os.fsencode(name)) for name in path.parts)
        long = names > _LONGEST_NAME or len(os.fsencode(path)) > _LONGEST_PATH
        return path != path.parent and above.is_dir() and not long
    except (OSError, RuntimeError, ValueError):
        return False


_FREE = Valid("any value", lambda value: True)
_MAPPING = Valid("keys with values", lambda value: isinstance(value, dict))
_WORDS = {
    "null": Valid("null", lambda value: value is None),
    "bool": Valid("true or false", lambda value: isinstance(value, bool)),
    "text": Valid("text", _is_text),
    "path": Valid("a path", _is_path),
    "folder": Valid(
        "a folder, or a path where one can be made: no file, nothing below a file, not /, names of at most 255 bytes",
        _can_be_a_folder,
    ),
    "point": Valid('a point of the training such as 0, "500it", "2ep" or "5%"', _is_point),
    "mapping": _MAPPING,
    "any": _FREE,
    "left out": Valid("left out, because lth sets it", lambda value: False),
}
_MANY = {"list": _list_of, "rising list": _rising, "pair": _pair, "map": _map}
_HYDRA = {  # keys of every part that Hydra builds
    "_target_": _WORDS["text"],
    "_partial_": _WORDS["bool"],
    "_recursive_": _WORDS["bool"],
    "_convert_": _one_of(["none", "partial", "object", "all"]),
    "_args_": _FREE,
}
