"""What lth depends on: extras that are not installed, and the oldest Python."""

import re
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from types import GenericAlias

import pytest

import lth
from tests.support import extras
from tests.support.extras import EXTRAS, missing_extra

ROOT = Path(__file__).parent.parent
PROJECT = (ROOT / "pyproject.toml").read_text()


def test_the_extras_are_those_of_the_project():
    section = PROJECT.split("[project.optional-dependencies]")[1].split("\ndev = [")[0]
    found = {
        name: re.findall(r'"([\w-]+)', packages) for name, packages in re.findall(r"^(\w+) = \[(.*)\]", section, re.M)
    }
    assert {name: tuple(packages) for name, packages in found.items()} == EXTRAS


@pytest.mark.parametrize(
    "error",
    [
        ImportError("needs timm: pip install 'lth[timm]'"),
        ModuleNotFoundError("No module named 'timm.layers'", name="timm.layers"),
        AssertionError("error: model=timm needs timm: pip install 'lth[timm]'"),
    ],
)
def test_a_failure_for_want_of_an_extra_is_a_reason_to_skip_only_where_it_is_absent(error: Exception, monkeypatch):
    outer = RuntimeError("in model")
    outer.__cause__ = error
    monkeypatch.setattr(extras, "_installed", lambda package: False)
    assert missing_extra(outer) == "timm not installed: pip install 'lth[timm]'"
    monkeypatch.setattr(extras, "_installed", lambda package: True)
    assert missing_extra(outer) is None


def test_another_failure_is_no_reason_to_skip():
    assert missing_extra(ValueError("pip install torch")) is None
    assert missing_extra(ModuleNotFoundError("No module named 'lth.gone'", name="lth.gone")) is None


def test_hydra_can_scan_the_plugins_in_python_3_10():
    """Hydra calls issubclass on a module's classes; in Python 3.10 generic aliases pass as classes, and it fails."""
    import hydra_plugins

    found = walk_packages(hydra_plugins.__path__, "hydra_plugins.")
    modules = [import_module(module.name) for module in found if "._" not in module.name and "lth_" in module.name]
    assert len(modules) > 5
    members = [(f"{module.__name__}.{name}", value) for module in modules for name, value in vars(module).items()]
    assert [name for name, value in members if isinstance(value, GenericAlias)] == []


def test_the_version_is_said_once_and_cited():
    assert f"version: {lth.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"## {lth.__version__}\n" in (ROOT / "CHANGELOG.md").read_text()
    assert not re.search(r"^version\s*=\s*\"", PROJECT, re.M)
