"""The tables of valid values: every key of `conf/` has a line, every line a key, and the values in files are valid."""

import inspect
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml
from hydra.utils import get_object

from lth.cli._valid import Entry, _walk
from lth.cli._value_tables import Table, tables
from lth.pruning.structured import schedule_rule, thresholds
from tests.support.harness import CONF

FILES = sorted(path for path in CONF.rglob("*.yaml") if path.name != "_valid.yaml" and path != CONF / "config.yaml")
OWN = ("defaults", "hydra")  # of files: what Hydra composes, and Hydra's own keys


def literal(file: Path) -> list[Entry]:
    """The keys that a file of `conf/` sets, without those that it takes from other files."""
    text = file.read_text()
    content = {key: value for key, value in (yaml.safe_load(text) or {}).items() if key not in OWN}
    package = () if "@package _global_" in text else file.relative_to(CONF).parent.parts
    if file.parent.parts[-2:] == ("hydra", "callbacks"):
        return []
    for name in reversed(package):
        content = {name: content}
    return list(_walk((), content, None, tables()))


@pytest.mark.parametrize("file", [CONF / "config.yaml", *FILES], ids=lambda f: f.relative_to(CONF).as_posix())
def test_every_key_of_a_file_has_a_line(file: Path):
    without = [entry.key for entry in literal(file) if entry.valid is None]
    assert [key for key in without if ".schedule." not in key] == []  # whose `_target_` may stand in another file


@pytest.mark.parametrize("file", [CONF / "config.yaml", *FILES], ids=lambda f: f.relative_to(CONF).as_posix())
def test_every_value_in_a_file_is_valid(file: Path):
    valued = [entry for entry in literal(file) if entry.line and entry.value != "???"]
    wrong = [(entry.key, entry.value) for entry in valued if entry.valid and not entry.valid.accepts(entry.value)]
    assert wrong == []


def lines(table: Table) -> Iterator[str]:
    content = yaml.safe_load((CONF / table.group / "_valid.yaml").read_text())
    yield from (f"{table.group}: {key}" for key in content)


def parameters(table: Table) -> set[str]:
    """The keyword arguments of what the options of a group build."""
    return {name for target in table.targets for name in inspect.signature(get_object(target)).parameters}


@cache
def used() -> set[str]:
    """The lines that keys of files of `conf/` are checked by."""
    return {entry.line for file in [CONF / "config.yaml", *FILES] for entry in literal(file)}


def of_rules() -> set[str]:
    """The keys of a rule of a pruning schedule and of its pruner."""
    parts = [getattr(schedule_rule, name) for name in ("UnitSelection", "UnitRanking", "Removal", "_RuleTiming")]
    pruners = [thresholds.Threshold, thresholds.Sensitivity, thresholds.Splicing, thresholds.BaiduRNN]
    return {"pruner", *(name for kind in [*parts, *pruners] for name in inspect.signature(kind).parameters)}


WITH_LINES = [table for table in tables() if (CONF / table.group / "_valid.yaml").is_file()]


NEWER = {"enable_autolog_hparams", "model_registry"}  # arguments that the lowest version of Lightning does not have


@pytest.mark.parametrize("table", WITH_LINES, ids=lambda table: table.group or "top")
def test_every_line_is_for_a_key_that_there_is(table: Table):
    text = "\n".join(path.read_text() for path in (CONF / table.group).glob("[!_]*.yaml"))
    text += "\n".join(path.read_text() for path in (CONF / table.group).glob("_[!v]*.yaml"))
    names = {*re.findall(r"([\w]+):", text), *parameters(table), *NEWER}
    for line in set(lines(table)) - used():
        last = line.rpartition(": ")[2].rpartition(".")[2]
        assert last in (of_rules() if ": rules.*" in line else names), line
