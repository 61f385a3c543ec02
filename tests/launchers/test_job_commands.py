"""The command line of a sweep's job: what starts it, and what it must be told to compose what the sweep composed."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf

from hydra_plugins.lth_launcher.job import Job, composing_options
from lth.cli import run
from lth.cli.run import CONFIGURATIONS

LTH, HYDRA = {"provider": "main", "schema": "file", "path": str(CONFIGURATIONS)}, {"provider": "hydra", "schema": "pkg"}


def swept(*overrides: str, name: str = "config", sources=(LTH,)):
    """Hydra's configuration of a sweep."""
    given = {"overrides": {"hydra": list(overrides)}, "job": {"config_name": name}}
    return OmegaConf.create({"hydra": {**given, "runtime": {"config_sources": [HYDRA, *sources]}}})


def test_a_job_begins_with_the_module_that_python_was_given_or_with_the_script(monkeypatch):
    monkeypatch.setitem(sys.modules, "__main__", SimpleNamespace(__spec__=SimpleNamespace(name="lth.run.__main__")))
    assert Job(["seed=1"]).command == [sys.executable, "-m", "lth.run", "seed=1", "hydra.mode=RUN"]
    monkeypatch.setitem(sys.modules, "__main__", SimpleNamespace(__spec__=None))
    monkeypatch.setattr(sys, "argv", ["run.py", "-m", "seed=1,2"])
    assert Job(["seed=1"]).command == [sys.executable, str(Path("run.py").resolve()), "seed=1", "hydra.mode=RUN"]


def test_lth_run_is_started_again_as_a_module(monkeypatch):
    command = SimpleNamespace(__spec__=None)
    monkeypatch.setitem(sys.modules, "__main__", command)
    monkeypatch.setattr(sys, "argv", ["lth", "run"])
    run._act_as_module(["seed=1"])
    assert sys.argv[1:] == ["seed=1"]
    assert Job([]).command[1:3] == ["-m", "lth.run"]


@pytest.mark.parametrize(
    ("config", "options"),
    [
        (swept(), []),
        (swept("hydra.mode=MULTIRUN", "hydra/launcher=slurm"), ["hydra/launcher=slurm"]),
        (swept("hydra.searchpath=[file:///mine]"), ["hydra.searchpath=[file:///mine]"]),
        (swept(name="mine"), ["--config-name", "mine"]),
        (
            swept(sources=[LTH, {"provider": "command-line", "schema": "file", "path": "/mine"}]),
            ["--config-dir", "/mine"],
        ),
        (swept(sources=[{**LTH, "path": "/mine"}]), ["--config-path", "/mine"]),
    ],
    ids=["nothing", "launcher", "search path", "name", "folder", "path"],
)
def test_a_job_is_told_what_hydra_was_told(config, options: list[str]):
    assert composing_options(config) == options
    assert Job(["seed=1"], composing=options).command[-len(options) - 2 :] == [*options, "seed=1", "hydra.mode=RUN"]
