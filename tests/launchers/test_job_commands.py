"""The command line of a sweep's job: what starts it, and what it must be told to compose what the sweep composed."""

import os
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf

from hydra_plugins.lth_launcher.job import Job, _name_for_trackers, composing_options, error_file, returns, summarise
from hydra_plugins.lth_launcher.processes import ProcessLauncher
from hydra_plugins.lth_launcher.slurm import queued
from lth.cli import run
from lth.cli.run import CONFIGURATIONS, ERROR_FILE

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


def test_a_job_tells_its_sweep_why_it_failed_and_prints_nothing(tmp_path, monkeypatch, capsys):
    path = tmp_path / "error"
    for raised, code, told in (
        (SystemExit("error: no ticket at here"), 1, "no ticket at here"),
        (SystemExit(75), 75, None),
    ):
        monkeypatch.setenv(ERROR_FILE, str(path))
        with pytest.raises(SystemExit) as left, run._error_reported_to_sweep():
            raise raised
        assert ERROR_FILE not in os.environ  # another process that the job starts prints its own errors
        assert left.value.code == code
        assert (path.read_text() if path.is_file() else None) == told
        path.unlink(missing_ok=True)
    monkeypatch.setenv(ERROR_FILE, str(path))
    with pytest.raises(KeyError), run._error_reported_to_sweep():
        raise KeyError("w")
    assert path.read_text() == "KeyError: 'w'"
    with pytest.raises(SystemExit, match="error: alone"), run._error_reported_to_sweep():
        raise SystemExit("error: alone")
    assert capsys.readouterr() == ("", "")


def test_the_cause_is_the_message_in_one_line_or_else_the_exit_code():
    with error_file() as (environment, cause):
        assert (cause(0), cause(-9)) == ("", "ended with code -9")
        Path(environment[ERROR_FILE]).write_text("two\n  lines")
        assert (cause(0), cause(1)) == ("", "two lines")


def test_a_sweep_tells_its_name_to_jobs_that_log_to_wandb():
    sweep = swept()
    sweep.hydra.overrides.task = ["method=imp,wr", "recipe.lr=0.1", "dataset.root='/a b'"]
    assert _name_for_trackers(sweep) == []
    sweep.logger = {"csv": {}, "wandb": {}}
    name = "method=imp,wr recipe.lr=0.1 dataset.root=_/a b_"
    assert _name_for_trackers(sweep) == [f"+hydra.job.env_set.LTH_SWEEP='{name}'"]
    sweep.hydra.overrides.task = [f"key{number}=1" for number in range(40)]
    assert len(_name_for_trackers(sweep)[0]) < 160


@pytest.mark.parametrize(
    ("folders", "compared"),
    [
        (["runs/digits/mlp/imp/seed0", "runs/digits/mlp/rigl/seed0"], "runs/digits/mlp"),
        (["runs/digits/mlp/imp/seed0", "runs/digits/mlp/imp/seed1"], "runs/digits/mlp/imp"),
        (["runs/a b/imp/seed0"], "'runs/a b/imp'"),
        (["runs/digits/mlp/imp/seed0", "/elsewhere/imp/seed0"], "/"),
    ],
)
def test_a_sweep_ends_with_the_command_that_compares_its_runs(folders, compared, capsys):
    jobs = [Job(["method=imp"], {"folder": folder}) for folder in folders]
    summarise([*jobs, Job(["method=ipm"])], {len(jobs): "no method"})
    assert capsys.readouterr().out.splitlines()[-1] == f"next: lth report {compared} --out report"
    summarise(jobs, dict.fromkeys(range(len(jobs)), "disk full"))
    assert "next" not in capsys.readouterr().out


@pytest.mark.parametrize("preload", [True, False], ids=["forks", "processes"])
@pytest.mark.slow
def test_a_sweep_prints_one_line_a_job_and_failures_again_at_the_end(preload, tmp_path, monkeypatch, capfd):
    script = f"import os, sys; print('noise'); open(os.environ['{ERROR_FILE}'], 'w').write('why')"
    (tmp_path / "job.py").write_text(f"{script}; sys.exit(int(sys.argv[1][-1]))")
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "job.py")])
    monkeypatch.setitem(sys.modules, "__main__", SimpleNamespace(__spec__=None))
    jobs = [Job(["code=0"]), Job(["code=3"]), Job(["code=00"])]
    launcher = ProcessLauncher(preload=preload)
    launcher.config = OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}})
    outcomes = launcher.run(jobs)
    (log,) = (tmp_path / "logs").glob("code=3-*.log")
    why = f"why (output: {log})"
    assert outcomes == ["", why, ""]
    assert log.read_text() == "noise\n"
    summarise(jobs, {1: outcomes[1]})
    printed = capfd.readouterr()
    times = re.compile(r"\d+\.\d s|\d:\d\d:\d\d")
    assert [times.sub("T", line) for line in printed.out.splitlines()] == [
        f"3 jobs to run, 1 at a time; their output: {tmp_path / 'logs'}",
        "finished: code=0  T  [1 of 3 jobs  33%  T left]",
        f"failed: code=3: {why}",
        "finished: code=00  T  [3 of 3 jobs  100%  1 failed]",
        "2 of 3 jobs finished",
        f"failed: code=3: {why}",
    ]
    assert printed.err == ""
    result = returns(jobs, {1})[1]
    with pytest.raises(SystemExit) as left:
        _ = result.return_value
    assert left.value.code == 1
    assert capfd.readouterr() == ("", "")


def test_a_machine_outside_of_any_cluster_is_refused_at_once(tmp_path, monkeypatch):
    (tmp_path / "squeue").write_text("#!/bin/sh\necho 'Could not establish a configuration source' >&2; exit 1\n")
    (tmp_path / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(ValueError, match="this machine is not part of a Slurm cluster"):
        queued()
