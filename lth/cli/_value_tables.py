"""The tables of valid values: files `_valid.yaml` in the groups of `conf/`. lth/cli/_valid.py says how to read them."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

import yaml

from lth.cli._configurations import CONFIGURATIONS
from lth.cli._expressions import Valid, parse


@dataclass(frozen=True)
class Line:
    """A line of a table.

    group: group of the table
    name: the key, relative to the group; `*` stands for any name
    valid: condition (`else`, or `if KEY`) -> what is valid
    """

    group: str
    name: str
    valid: Mapping[str, Valid]

    @property
    def key(self) -> str:
        """The key in a composed configuration."""
        return ".".join([*self.group.split("/"), self.name]) if self.group else self.name

    def matches(self, key: str) -> bool:
        """Whether the line is that of a key of a composed configuration."""
        return fnmatchcase(key, self.key) and key.count(".") == self.key.count(".")


def lines() -> Iterator[Line]:
    """The lines of all tables."""
    for table in tables():
        yield from _leaves(table.group, (), table.lines)


def _leaves(group: str, path: tuple[str, ...], at: "Node") -> Iterator[Line]:
    if at.choices:
        yield Line(group, ".".join(path), at.choices)
    for name, below in at.below.items():
        yield from _leaves(group, (*path, name), below)


@dataclass
class Node:
    """A table's lines as a tree, with one level per name of a key's path.

    below: name -> the lines below it
    choices: condition -> what is valid, for the line that ends here
    line: `group: key` of the line that ends here; empty if none does
    """

    below: dict[str, "Node"] = field(default_factory=dict)
    choices: dict[str, Valid] = field(default_factory=dict)
    line: str = ""

    def add(self, key: str, expressions: str | Mapping[str, str], group: str) -> None:
        """Add a line to the table.

        key: key relative to the group, with dots
        expressions: one expression, or condition -> expression
        group: group of the table
        """
        at = self
        for name in key.split("."):
            at = at.below.setdefault(name, Node())
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
    lines: lines of its `_valid.yaml`
    """

    group: str
    targets: frozenset[str]
    whole: bool
    lines: Node

    @property
    def package(self) -> tuple[str, ...]:
        """Where the group is composed."""
        return tuple(self.group.split("/")) if self.group else ()

    def fits(self, target: Any) -> bool:
        """Whether its lines apply to a part with this `_target_`: one from the same libraries as `targets`."""
        libraries = {own.partition(".")[0] for own in self.targets}
        return not libraries or not isinstance(target, str) or target.partition(".")[0] in libraries


@cache
def tables() -> tuple[Table, ...]:
    """The tables of all groups, and that of the keys outside of groups."""
    folders = [path for path in sorted(CONFIGURATIONS.rglob("*")) if path.is_dir()]
    groups = [path.relative_to(CONFIGURATIONS).as_posix() for path in folders if any(path.glob("*.yaml"))]
    return tuple(map(_table, ["", *(group for group in groups if group.partition("/")[0] != "experiment")]))


@cache
def of_package(package: tuple[str, ...]) -> Table | None:
    """The table of the group that is composed at `package`; None where there is none."""
    return next((table for table in tables() if table.package == package), None)


def _table(group: str) -> Table:
    folder = CONFIGURATIONS / group
    lines = Node()
    if (folder / "_valid.yaml").is_file():
        for key, expressions in (yaml.safe_load((folder / "_valid.yaml").read_text()) or {}).items():
            lines.add(key, expressions, group)
    texts = [path.read_text() for path in folder.glob("*.yaml") if group and path.name != "_valid.yaml"]
    found = [re.search(r"^_target_: (\S+)", text, re.MULTILINE) for text in texts]
    based = [re.search(r"^  - _?[a-z]\w*$", text, re.MULTILINE) for text in texts]
    whole = all(target or base for target, base in zip(found, based, strict=True)) and any(found)
    return Table(group, frozenset(target[1] for target in found if target), whole, lines)
