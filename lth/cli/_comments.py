"""Reads the meaning of options and keys from the comments of the YAML files in `conf/`."""

import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from lth.cli._configurations import CONFIGURATIONS

_COMMENT = re.compile(r"[^#]*?#\s?(.*)")
FOLDERS = [CONFIGURATIONS]  # folders of configurations: that of lth, then those of the user


def purpose(file: Path) -> str:
    """What an option is: the comment at the top of its file, up to the first line that ends a sentence."""
    said: list[str] = []
    for line in file.read_text().splitlines():
        if not line.startswith("#") or (said and said[-1].endswith(".")):
            break
        if not line.startswith("# @package"):
            said.append(line.lstrip("# ").strip())
    return " ".join(said)


def groups() -> list[str]:
    """All groups of options: folders of `conf/`, with slashes, sorted."""
    names = {
        path.relative_to(folder).as_posix()
        for folder in FOLDERS
        for path in folder.rglob("*")
        if path.is_dir() and any(path.rglob("*.yaml"))
    }
    hidden = "hydra", "hydra/callbacks"
    return sorted(name for name in names if name not in hidden and not name.startswith("experiment/"))


def group_purpose(group: str) -> str:
    """What a group is for: the comment where a list of defaults first chooses one of its options."""
    folder = CONFIGURATIONS / group
    above = [CONFIGURATIONS / "config.yaml"] if folder.parent.name in ("conf", "hydra") else []
    name = group if group.startswith("hydra/") else folder.name
    for file in above or sorted(folder.parent.glob("*.yaml")):
        found = re.search(rf"^  - (?:override )?/?{re.escape(name)}: [^#\n]*# (.*)$", file.read_text(), re.MULTILINE)
        if found:
            return found[1]
    return ""


def options(group: str) -> list[str]:
    """The options of a group, sorted; those of `experiment` lie in a folder per paper. Files `_*` are not options."""
    deep = "*/[!_]*.yaml" if group == "experiment" else "[!_]*.yaml"
    found = ((folder / group, path) for folder in FOLDERS for path in (folder / group).glob(deep))
    return sorted({path.relative_to(folder).with_suffix("").as_posix() for folder, path in found})


def file_of(group: str, option: str) -> Path:
    """The path of an option's YAML file. Of several folders with such a file, the first in `FOLDERS` is used."""
    files = [folder / group / f"{option}.yaml" for folder in FOLDERS]
    return next(filter(Path.is_file, files), files[0])


def meaning(group: str, key: str, option: str = "") -> str:
    """What a key of a group means.

    group: its folder in `conf/`; empty for the keys outside of groups
    key: relative to the group; `*` stands for any name
    option: its file, and the files in its list of defaults, are read first

    Next come the comment of the key's line in the table of valid values, then comments of other options.
    """
    for file in _files(group, option):
        for name, comment in keys_of(file).items():
            if comment and (name == key or fnmatchcase(name, key)):
                return comment
    return ""


def _files(group: str, option: str) -> Iterator[Path]:
    folder = CONFIGURATIONS / group
    if not group:
        yield from (folder / "config.yaml", folder / "_valid.yaml")
        return
    yield from made_from(group, option)
    yield folder / "_valid.yaml"
    yield from sorted(folder.glob("*.yaml"))


def made_from(group: str, option: str) -> Iterator[Path]:
    """The file of an option, and those of the same group in its list of defaults, nearest first."""
    file = file_of(group, option)
    if not option or not file.is_file():
        return
    yield file
    for name in _bases(file):
        yield from made_from(group, name)


@cache
def _bases(file: Path) -> list[str]:
    """The files of the same group in a file's list of defaults, the last first."""
    defaults = (yaml.safe_load(file.read_text()) or {}).get("defaults", [])
    return [name for name in reversed(defaults) if isinstance(name, str) and name != "_self_" and "/" not in name]


@cache
def keys_of(file: Path) -> dict[str, str]:
    """The keys of a file, with dots, and their comments."""
    if not file.is_file():
        return {}
    text = file.read_text()
    return dict(_walk((), yaml.compose(text, yaml.SafeLoader), text.splitlines()))


def _walk(path: tuple[str, ...], node: Any, lines: Sequence[str]) -> Iterator[tuple[str, str]]:
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        name = (*path, str(key.value))
        yield ".".join(name), _beside(key, value, lines) or _above(key, lines)
        yield from _walk(name, value, lines)


def _beside(key: Any, value: Any, lines: Sequence[str]) -> str:
    """The comment at the end of the key's line."""
    block = isinstance(value, yaml.CollectionNode) and not value.flow_style
    end = key.end_mark if block or value.end_mark.line < key.end_mark.line else value.end_mark
    if end.line >= len(lines):
        return ""
    found = _COMMENT.fullmatch(lines[end.line][end.column :])
    return found[1].strip() if found else ""


def _above(key: Any, lines: Sequence[str]) -> str:
    """The comment lines directly above a key, with its indentation. Line 1 of a file describes the file: not read."""
    above: list[str] = []
    row = key.start_mark.line - 1
    while row > 0 and re.fullmatch(rf" {{{key.start_mark.column}}}#.*", lines[row]):
        above.insert(0, lines[row].strip("# "))
        row -= 1
    return " ".join(above)
