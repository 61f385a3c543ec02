"""What the pages of methods show of each method, from `conf/method`: purpose, papers, how it differs, its keys."""

import re
from collections.abc import Sequence
from pathlib import Path

import yaml

from docs.pages.reference import cell, keys
from lth.cli._comments import keys_of, made_from, options, purpose
from lth.cli.run import CONFIGURATIONS

FOLDER = CONFIGURATIONS / "method"
LEADERBOARD = Path(__file__).parents[1] / "leaderboard_digits.md"
_PAPER = re.compile(r"(?:arXiv )?\b(\d{4}\.\d{5})\b")


def described(methods: Sequence[str]) -> str:
    """A table of the methods, then the keys that each sets itself."""
    rows = [f"| [`{name}`](#method-{name}) | {linked(cell(said(name)))} |" for name in methods]
    sections = [_section(name) for name in methods]
    return "\n".join(["| `method=` | what it is |", "| --- | --- |", *rows, "", *sections])


def options_of(group: str) -> str:
    """A table of a group's options."""
    rows = [
        f"| `{name}` | {linked(cell(purpose(CONFIGURATIONS / group / f'{name}.yaml')))} |" for name in options(group)
    ]
    return "\n".join([f"| `{group}=` | what it is |", "| --- | --- |", *rows])


def ranked(methods: Sequence[str]) -> str:
    """Rows of the table in docs/leaderboard_digits.md, in the order of `methods`, with their trainings of 30 epochs."""
    found = {}
    for line in LEADERBOARD.read_text().splitlines():
        if re.match(r"\| \d+ \|", line):
            _, _, name, first, second, epochs, *_ = (cell.strip() for cell in line.split("|"))
            found[name.split()[0]] = f"| {first} | {second} | {float(epochs) / 30:.3g} |"
    rows = [f"| `{name}` | {linked(cell(said(name)))} {found[name]}" for name in methods]
    return "\n".join(["| method | what it is | 0.1 | 0.02 | trainings |", "| --- | --- | ---: | ---: | ---: |", *rows])


def said(name: str) -> str:
    """The description of a method: the comment at the top of its YAML file."""
    return purpose(FOLDER / f"{name}.yaml")


def linked(text: str) -> str:
    """The text with numbers of arXiv as links."""
    return _PAPER.sub(r"[arXiv \1](https://arxiv.org/abs/\1)", text)


def _section(name: str) -> str:
    files = [file.stem for file in made_from("method", name)]
    base = f"Starts from `{files[1].strip('_')}`. " if len(files) > 1 and not files[1].startswith("_") else ""
    chosen = _chosen(FOLDER / f"{name}.yaml")
    parts = f"Chooses {', '.join(f'`{part}`' for part in chosen)}. " if chosen else ""
    own = set(keys_of(FOLDER / f"{name}.yaml"))
    rows = [row for row in keys("method", name) if row[0].removeprefix("method.") in own]
    text = [f"### {name} {{#method-{name}}}", "", f"{base}{parts}`lth help method={name}` lists every key.", ""]
    if rows:
        text += ["| key | default | meaning |", "| --- | --- | --- |"]
        text += [f"| `{key}` | {default} | {meaning} |" for key, default, meaning, _ in rows]
    return "\n".join([*text, ""])


def _chosen(file: Path) -> list[str]:
    """The parts that a file's list of defaults chooses, as the command line would write them."""
    content = yaml.safe_load(file.read_text()) or {}
    found = []
    for entry in content.get("defaults", []):
        for key, value in entry.items() if isinstance(entry, dict) else ():
            name = key.removeprefix("override ").split("@")[0]
            found.append(f"{name.strip('/') if name.startswith('/') else f'method/{name}'}={value}")
    return found


def unplaced(text: str) -> list[str]:
    """Methods that are not in exactly one comment `<!-- methods: ... -->` of the text, and names that are no method."""
    named = [name for mark in re.findall(r"<!-- methods: ([\w ]+) -->", text) for name in mark.split()]
    return sorted(
        {name for name in options("method") if named.count(name) != 1} | (set(named) - set(options("method")))
    )
