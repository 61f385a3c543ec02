"""`lth help`: groups, options and keys of an experiment's configuration, as the comments of `conf/` explain them."""

import argparse
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from lth.cli._comments import FOLDERS, file_of, group_purpose, groups, keys_of, made_from, meaning, options, purpose
from lth.cli._errors import nearest
from lth.cli._expressions import shown
from lth.cli._valid import Entry, entries, entries_of_part
from lth.cli._value_tables import Line, lines
from lth.cli.run import CONFIGURATIONS, register_resolvers

_INDENT = "  "
_EPILOG = """examples:
  lth help                     the groups
  lth help method              the options of a group
  lth help method=rigl         the keys of an option, with default, meaning and valid values
  lth help recipe.accumulate   one key
  lth help --config-dir FOLDER method/criterion   with options of your own
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the help for a group, an option or a key.

    arguments: command-line arguments after `lth help`; None = `sys.argv[1:]`
    """
    parser = argparse.ArgumentParser(
        prog="lth help", description=__doc__, epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("about", nargs="?", default="", help="a group, GROUP=OPTION, or a key with dots")
    text = "folder with options of your own, as for `lth run`"
    parser.add_argument("--config-dir", "-cd", type=Path, metavar="FOLDER", help=text)
    given = parser.parse_args(arguments)
    about = given.about
    if given.config_dir:
        if not given.config_dir.is_dir():
            sys.exit(f"error: --config-dir {given.config_dir}: there is no such folder")
        FOLDERS.append(given.config_dir.resolve())
    found = explain(about, shutil.get_terminal_size().columns)
    if found is None:
        group, sets, _ = about.partition("=")
        known = [f"{group}={option}" for option in options(group)] if sets else groups() + [one.key for one in lines()]
        own = " (options of your own: --config-dir FOLDER)" if sets and not given.config_dir else ""
        near = nearest(about, known) + own
        sys.exit(f"error: there is no group, option or key {about!r}{near}; `lth help` lists the groups")
    print(found)


def explain(about: str, width: int = 100) -> str | None:
    """The help about a group, an option or a key; None if `about` names none.

    about: `method`, `method=rigl`, `recipe.accumulate`; empty for the list of groups
    width: width of the text in characters
    """
    group, sets, option = about.partition("=")
    if not about:
        return _groups(width)
    if sets:
        known = group in groups() and (option in options(group) or option in _papers(group))
        return _option(group, option, width) if known else None
    if group in groups():
        return _options(group, width)
    return _key(about, width)


def _groups(width: int) -> str:
    top = [group for group in groups() if "/" not in group or group.startswith("hydra/")]
    rows = [(f"{group}=", group_purpose(group)) for group in top]
    run = [(line.key, meaning("", line.key)) for line in lines() if not line.group and "choices" not in line.key]
    return "\n".join(
        [
            "groups (GROUP=OPTION):",
            *_table(rows, width),
            "",
            "keys of the run itself (KEY=VALUE), beside those of the groups:",
            *_table(run, width),
            "",
            "lth help GROUP          the options of a group, such as `lth help method`",
            "lth help GROUP=OPTION   the keys of an option, such as `lth help method=rigl`",
            "lth help KEY            one key, such as `lth help recipe.accumulate`",
        ]
    )


def _options(group: str, width: int) -> str:
    head = [f"{group}: {group_purpose(group)}".rstrip(": "), ""]
    if group == "experiment":
        papers = _papers(group)
        rows = [(paper, _count(name for name in options(group) if name.startswith(f"{paper}/"))) for paper in papers]
        return "\n".join([*head, *_table(rows, width), "", "lth help experiment=PAPER lists the recipes of a paper"])
    rows = [(name, purpose(file_of(group, name))) for name in options(group)]
    return "\n".join([*head, *_table(rows, width), *_parts(group, width)])


def _parts(group: str, width: int) -> list[str]:
    """The groups of a group's parts, such as `method/criterion`."""
    parts = [(f"{name}=", group_purpose(name)) for name in groups() if name.startswith(f"{group}/")]
    return ["", "groups that belong to it:", *_table(parts, width)] if parts else []


def _option(group: str, option: str, width: int) -> str:
    if option in _papers(group):
        names = [name for name in options(group) if name.startswith(f"{option}/")]
        return "\n".join(_table([(name, purpose(file_of(group, name))) for name in names], width))
    file = file_of(group, option)
    head = textwrap.wrap(f"{group}={option}: {purpose(file)}", width)
    if group == "experiment":
        published = dict(_composed(group, option).published or {})
        sentences = [said for said in (published.pop("differs", None) or {}).values() if said is not None]
        rows = [(key, str(value)) for key, value in published.items()] + [("differs", said) for said in sentences]
        whole = f"lth run experiment={option} --cfg job    prints every key"
        return "\n".join([*head, "", *_table(rows, width), "", whole])
    own = list(keys_of(file))
    rows = [
        (f"{entry.key}={shown(entry.value)}", _about(entry.line, entry.valid.says, option))
        for entry in sorted(_entries(group, option), key=lambda entry: _place(entry.line, own))
        if entry.valid is not None and entry.line.startswith(f"{group}: ") and not _is_built(entry)
    ]
    rows += [
        row for row in _own_keys(group, file) if row[0].partition("=")[0] not in {r[0].partition("=")[0] for r in rows}
    ]
    return "\n".join([*head, "", *_table(rows, width), *_parts(group, width)])


def _own_keys(group: str, file: Path) -> list[tuple[str, str]]:
    """The keys of a user's own file with their comments; empty for a file of lth, whose keys are in the tables."""
    if CONFIGURATIONS in file.parents:
        return []
    content, package = yaml.safe_load(file.read_text()) or {}, group.replace("/", ".")
    means = keys_of(file)
    plain = {key: value for key, value in content.items() if not key.startswith("_") and key != "defaults"}
    return [(f"{package}.{key}={shown(value)}", means.get(key, "")) for key, value in plain.items()]


def _key(key: str, width: int) -> str | None:
    found = next((line for line in lines() if line.matches(key)), None)
    if found is None:
        return None
    says = " / ".join(
        valid.says if condition == "else" else f"{valid.says} ({condition})" for condition, valid in found.valid.items()
    )
    held = dict(_defaults(found))
    means = dict.fromkeys(meaning(found.group, found.name, name.rpartition("/")[2]) for name in held or ("",))
    rows = [*(("meaning", text) for text in means), ("valid", says)]
    if held:
        rows.append(("default", "; ".join(f"{value} in {name}" for name, value in held.items())))
    return "\n".join([key, *_table(rows, width)])


def _defaults(line: Line) -> Iterator[tuple[str, str]]:
    """The options of a line's group that hold the key, and its value there."""
    files = [CONFIGURATIONS / "config.yaml"] if not line.group else sorted((CONFIGURATIONS / line.group).glob("*.yaml"))
    for file in files:
        value: Any = yaml.safe_load(file.read_text()) or {}
        for name in line.name.split("."):
            value = value.get(name) if isinstance(value, dict) and name in value else _ABSENT
        if value is not _ABSENT and file.name != "_valid.yaml":
            yield file.relative_to(CONFIGURATIONS).with_suffix("").as_posix(), shown(value)


def _entries(group: str, option: str) -> Iterable[Entry]:
    """The keys of an option: composed by Hydra for a top-level group, merged from its files for a part."""
    package = group.replace("/", ".")
    if "/" in group:
        merged: Any = OmegaConf.merge(*(OmegaConf.load(file) for file in reversed(list(made_from(group, option)))))
        merged.pop("defaults", None)
        content: Any = OmegaConf.to_container(merged, resolve=False)
        return entries_of_part(package, content)
    return (entry for entry in entries(_composed(group, option)) if entry.key.startswith(f"{package}."))


def _composed(group: str, option: str) -> DictConfig:
    register_resolvers()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONFIGURATIONS), version_base="1.3"):
        own = [f"hydra.searchpath={[f'file://{folder}' for folder in FOLDERS[1:]]}"] if FOLDERS[1:] else []
        return compose("config", overrides=[f"{group}={option}", *own])


def _about(line: str, says: str, option: str) -> str:
    group, key = line.split(": ")
    return f"{meaning(group, key, option)} [{says}]"


def _place(line: str, own: Sequence[str]) -> int:
    """Sort key of a line: keys of the option's own file come first, in the order of the file."""
    key = line.partition(": ")[2]
    return own.index(key) if key in own else len(own)


def _is_built(entry: Entry) -> bool:
    """Whether a key names what Hydra builds: plan and stages of a method, and parts, which have groups of their own."""
    return entry.line.startswith(("method: plan", "method: stages")) or isinstance(entry.value, dict)


def _papers(group: str) -> list[str]:
    return sorted({name.partition("/")[0] for name in options(group)}) if group == "experiment" else []


def _count(names: Iterable[str]) -> str:
    count = len(list(names))
    return f"{count} recipe{'s' if count > 1 else ''}"


def _table(rows: Sequence[tuple[str, str]], width: int) -> list[str]:
    """Two columns. A row whose first cell is too wide for the column has its text on the next line."""
    column = min(max((len(name) for name, _ in rows), default=0), max(20, width // 3))
    printed = []
    for name, text in rows:
        wrapped = textwrap.wrap(text, max(20, width - column - 2 * len(_INDENT))) or [""]
        if len(name) > column:
            printed.append(f"{_INDENT}{name}")
            name = ""
        for part in wrapped:
            printed.append(f"{_INDENT}{name:<{column}}{_INDENT}{part}".rstrip())
            name = ""
    return printed


_ABSENT = object()
