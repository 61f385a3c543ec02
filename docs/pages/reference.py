"""Pages of the reference: configuration, from the comments of `conf/` as `lth help` reads them; commands; modules."""

import io
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout, suppress
from functools import cache
from typing import Any

from omegaconf import OmegaConf

from lth.cli._comments import group_purpose, groups, made_from, meaning, options, purpose
from lth.cli._expressions import shown
from lth.cli._valid import Entry, entries_of_part
from lth.cli._value_tables import lines
from lth.cli.main import main
from lth.cli.run import CONFIGURATIONS

COMMANDS = "run", "help", "report", "ticket", "summary", "sensitivity", "connectivity", "verdict"
MODULES = {  # page -> what it is for, and the modules it describes
    "script": ("pruning in a script of your own", ["lth.experiment.levels", "lth.callbacks.within.keep_pruned"]),
    "pruning": (
        "masks and how they are made",
        ["lth.pruning.masks", "lth.pruning.prunable", "lth.pruning.prune", "lth.pruning.ladder", "lth.pruning.paths"],
    ),
    "criteria": ("what a weight is worth", ["lth.pruning.criterion", "lth.pruning.criteria.*"]),
    "allocation": ("how many weights each layer keeps", ["lth.pruning.allocation.*"]),
    "topology": ("masks that move within a level", ["lth.pruning.topology.*", "lth.pruning.timing"]),
    "structured": ("whole units", ["lth.pruning.structured.*"]),
    "callbacks": (
        "Lightning callbacks",
        ["lth.callbacks.boundary.*", "lth.callbacks.within.*", "lth.callbacks.watch.*"],
    ),
    "modules": ("LightningModules", ["lth.modules.*"]),
    "networks": ("networks", ["lth.networks.*"]),
    "datamodules": ("datasets", ["lth.datamodules.*"]),
    "tickets": ("ticket files", ["lth.tickets.*", "lth.tickets.treatments.*", "lth.tickets.export.*"]),
    "analysis": ("measurements of networks and masks", ["lth.analysis.*"]),
}


@cache
def pages() -> dict[str, str]:
    """Every page: address -> Markdown."""
    top = [group for group in groups() if "/" not in group or group.startswith("hydra/")]
    return {
        "reference/command_line.md": _command_line(),
        "reference/configuration/run.md": _run_keys(),
        **{f"reference/configuration/{group.replace('/', '_')}.md": _group_page(group) for group in top},
        **{f"reference/python/{name}.md": _module_page(name) for name in MODULES},
    }


def navigation() -> list[dict[str, list[str]]]:
    """The sections of the reference."""
    configuration = [page for page in pages() if "/configuration/" in page]
    return [{"By group": configuration}, {"Python": [page for page in pages() if "/python/" in page]}]


def linked_groups() -> str:
    """A list of links to the pages of the groups, for a page of docs/."""
    stems = [page.rpartition("/")[2].removesuffix(".md") for page in pages() if "/configuration/" in page]
    shown = {stem: f"`{stem.replace('_', '/')}`" for stem in stems if stem != "run"}
    links = ", ".join(f"[{name}](reference/configuration/{stem}.md)" for stem, name in shown.items())
    return f"Pages: {links}, and [the keys of the run itself](reference/configuration/run.md)."


def _run_keys() -> str:
    """The page of the keys that belong to no group."""
    rows = []
    content: Any = OmegaConf.to_container(OmegaConf.load(CONFIGURATIONS / "config.yaml"), resolve=False)
    for line in lines():
        if line.group:
            continue
        value = content
        for name in line.name.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        says = " / ".join(valid.says for valid in line.valid.values())
        rows.append((line.key, f"`{shown(value)}`", meaning("", line.key), says))
    return "\n".join(
        ["# Keys of the run itself", "", "The keys of a run that belong to no group.", "", *_table(KEYS, rows), ""]
    )


def _group_page(group: str) -> str:
    """A group with its options, then the groups of its parts."""
    parts = [name for name in groups() if name.startswith(f"{group}/")]
    text = [f"# {group}", "", f"Every option and key of the group `{group}`: {group_purpose(group)}.", ""]
    text += _options(group, 2)
    for part in parts:
        text += [f"## {part}", "", f"{_sentence(group_purpose(part))}", "", *_options(part, 3)]
    return "\n".join(text)


def _options(group: str, level: int) -> Iterator[str]:
    if group == "experiment":
        yield "[The table of recipes](../../recipes.md) lists the options; keys of a recipe are those of all groups."
        yield ""
        return
    for option in options(group):
        yield from (f"{'#' * level} `{group}={option}` {{#{group.replace('/', '-')}-{option}}}", "")
        yield from (_sentence(purpose(CONFIGURATIONS / group / f"{option}.yaml")), "")
        if rows := keys(group, option):
            yield from (*_table(KEYS, rows), "")


@cache
def keys(group: str, option: str) -> list[tuple[str, str, str, str]]:
    """The keys of an option with default, meaning and valid values."""
    files = list(made_from(group, option))
    merged: Any = OmegaConf.merge(*(OmegaConf.load(file) for file in reversed(files)))
    if "defaults" in merged:
        merged.pop("defaults")
    content: Any = OmegaConf.to_container(merged, resolve=False)
    package = group.replace("/", ".")
    found = [entry for entry in entries_of_part(package, content) if _is_set(entry, group)]
    first = list(OmegaConf.load(files[0]).keys())
    place = {key: index for index, key in enumerate(first)}
    found.sort(key=lambda entry: place.get(entry.line.partition(": ")[2].partition(".")[0], len(place)))
    return [_row(entry, option) for entry in found]


def _row(entry: Entry, option: str) -> tuple[str, str, str, str]:
    group, key = entry.line.split(": ")
    assert entry.valid is not None
    return entry.key, f"`{shown(entry.value)}`", meaning(group, key, option), entry.valid.says


def _is_set(entry: Entry, group: str) -> bool:
    """Whether a user sets the key: it is no part, which is a group of its own, and says nothing of what is built."""
    built = entry.line.startswith(("method: plan", "method: stages")) or isinstance(entry.value, dict)
    return entry.valid is not None and entry.line.startswith(f"{group}: ") and not built


KEYS = "key", "default", "meaning", "valid"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{' --- |' * len(head)}"
    for first, *rest in rows:
        yield f"| `{first}` | {' | '.join(map(cell, rest))} |"


def cell(text: str) -> str:
    """Text as a cell of a Markdown table: bars and, outside of code, angle brackets are escaped."""
    pieces = text.replace("|", r"\|").split("`")
    return "`".join(piece if number % 2 else piece.replace("<", "&lt;") for number, piece in enumerate(pieces))


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".") if text else ""


def _command_line() -> str:
    text = ["# Command line", "", "What each command of `lth` takes, as `--help` prints it.", ""]
    text += ["```", help_of([]), "```", ""]
    for command in COMMANDS:
        if command == "run":
            run = "`lth run` takes options and keys: [configuration](../configuration.md). `lth run --help` lists them."
            text += ["## lth run", "", run, ""]
            continue
        shown = help_of([command])
        text += [f"## lth {command}", "", "```", shown, "```", ""]
        for sub in re.findall(r"^    ([a-z]+) ", shown, re.MULTILINE):
            text += [f"### lth {command} {sub}", "", "```", help_of([command, sub]), "```", ""]
    return "\n".join(text)


def help_of(words: Sequence[str]) -> str:
    """What `lth WORDS --help` prints, 100 characters wide."""
    printed = io.StringIO()
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "100"
    with redirect_stdout(printed), suppress(SystemExit):
        main([*words, "--help"])
    os.environ.pop("COLUMNS")
    if before is not None:
        os.environ["COLUMNS"] = before
    return printed.getvalue().rstrip()


def _module_page(name: str) -> str:
    purpose_, patterns = MODULES[name]
    text = [f"# {name}", "", f"The Python interface: {purpose_}.", ""]
    for module in _modules(patterns):
        text += [f"## {module}", "", f"::: {module}", "    options:", "      show_root_heading: false"]
        text += ["      show_root_toc_entry: false", ""]
    return "\n".join(text)


def _modules(patterns: Sequence[str]) -> Iterator[str]:
    root = CONFIGURATIONS.parent
    for pattern in patterns:
        if not pattern.endswith(".*"):
            yield pattern
            continue
        folder = root / pattern[:-2].replace(".", "/")
        for file in sorted(folder.glob("[!_]*.py")):
            yield ".".join(file.relative_to(root).with_suffix("").parts)
