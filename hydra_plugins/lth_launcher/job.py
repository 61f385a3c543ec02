"""One job of a sweep, independent of the launcher: command line, folder, whether it is finished, score."""

import csv
import os
import re
import sys
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from shlex import quote
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, open_dict

from hydra_plugins.lth_launcher._added_keys import check_used, without_foreign
from lth.cli._valid import check
from lth.cli.run import CONFIGURATIONS, ERROR_FILE
from lth.storage.folder import RunFolder, all_finished, different_keys

_LONGEST_NAME = 110  # characters of a sweep's name


@dataclass
class Job:
    """One job of a sweep.

    overrides: overrides on its command line, without Hydra's own
    config: the resolved configuration; None when the overrides are wrong
    refused: the message about a value that is not valid; such a job is not started
    choices: group -> the option chosen
    composing: options and overrides of Hydra's own that the sweep was started with: --config-dir, hydra.searchpath, ...
    """

    overrides: list[str]
    config: dict[str, Any] | None = None
    choices: dict[str, str] = field(default_factory=dict)
    composing: list[str] = field(default_factory=list)
    refused: str = ""

    @property
    def folder(self) -> Path | None:
        """The run's folder; None when the overrides are wrong."""
        return Path(self.config["folder"]) if self.config else None

    @property
    def command(self) -> list[str]:
        """The command line of this job alone, so that neither it nor its ranks start the sweep again.

        It has no `-m` of Hydra's, and sets `hydra.mode` because an experiment's file may ask for a sweep. As for the
        ranks that Lightning starts, the program is the module that `python -m` was given, or else the script.
        """
        spec = getattr(sys.modules["__main__"], "__spec__", None)
        program = ["-m", spec.name.removesuffix(".__main__")] if spec else [str(Path(sys.argv[0]).resolve())]
        return [sys.executable, *program, *self.composing, *self.overrides, "hydra.mode=RUN"]

    def finished(self) -> bool:
        """Whether its folder holds this configuration with all levels and pictures, and `overwrite` is false."""
        if self.folder is None or self.config is None or self.config["overwrite"]:
            return False
        run = RunFolder(self.folder)
        pictures = ["curve.png", *(["topology.png"] if (self.folder / "topology.csv").is_file() else [])]
        same = self.done() and not different_keys(self._stored().get("config"), self.config)
        return same and all(map(run.has_picture, pictures))

    def done(self) -> bool:
        """Whether a run in its folder is complete: its levels are finished and results.csv is written."""
        if self.folder is None or not (self.folder / "results.csv").is_file():
            return False
        return all_finished(self.folder, self._stored().get("levels"))

    def score(self) -> float | None:
        """The last level's validation accuracy, or its test accuracy where nothing was kept for validation."""
        last = self._last_row()
        return float(last.get("val_accuracy") or last["test_accuracy"]) if last else None

    def result(self) -> str:
        """Validation and test accuracy of the last level, in words; empty if the run is not complete."""
        last = self._last_row()
        named = {"val": last.get("val_accuracy"), "test": last.get("test_accuracy")}
        return "  ".join(f"{name} accuracy {float(value):.4f}" for name, value in named.items() if value)

    def _last_row(self) -> dict[str, str]:
        """The last level's row of results.csv; empty if the run is not complete."""
        if not self.done():
            return {}
        assert self.folder
        with (self.folder / "results.csv").open(newline="") as file:
            return list(csv.DictReader(file))[-1]

    def _stored(self) -> dict[str, Any]:
        """The content of config.yaml in its folder; empty if there is no such file."""
        assert self.folder
        path = self.folder / "config.yaml"
        content = yaml.safe_load(path.read_text()) if path.is_file() else None
        return content if isinstance(content, dict) else {}

    def __str__(self) -> str:
        return " ".join(self.overrides)


def plan(context: HydraContext, config: DictConfig, job_overrides: Sequence[Sequence[str]], first: int) -> list[Job]:
    """The jobs of a sweep. One with wrong overrides has no config, and reports its error when it runs.

    context, config: Hydra's context and the sweep's configuration
    job_overrides: one list of overrides per job
    first: number of the first job

    Raises ValueError for a `++key=value` that applies to no job.
    """
    jobs = [_job(context, config, list(overrides), first + index) for index, overrides in enumerate(job_overrides)]
    check_used(job_overrides, [job.overrides for job in jobs])
    composing = [*composing_options(config), *_name_for_trackers(config)]
    return [replace(job, composing=composing) for job in jobs]


def composing_options(config: DictConfig) -> list[str]:
    """Options and overrides of Hydra's own that a job of the sweep needs to compose what the sweep composed.

    config: the sweep's configuration with Hydra's node
    """
    sources = {source.provider: source for source in config.hydra.runtime.config_sources}
    options = []
    if config.hydra.job.config_name != "config":
        options += ["--config-name", config.hydra.job.config_name]
    if "main" in sources and sources["main"].schema == "file" and Path(sources["main"].path) != CONFIGURATIONS:
        options += ["--config-path", sources["main"].path]
    if "command-line" in sources:
        options += ["--config-dir", sources["command-line"].path]
    overrides = config.hydra.overrides.hydra  # as they were written
    return [*options, *(override for override in overrides if not override.startswith("hydra.mode="))]


def _name_for_trackers(config: DictConfig) -> list[str]:
    """An override that passes the sweep's name to its jobs if they log to W&B, which groups runs by that name."""
    if "wandb" not in (config.get("logger") or {}):
        return []
    name = re.sub(r"[^\w.,=\[\]/ +-]", "_", " ".join(config.hydra.overrides.task))
    short = name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]} {sha256(name.encode()).hexdigest()[:8]}"
    return [f"+hydra.job.env_set.LTH_SWEEP='{short}'"]


def _job(context: HydraContext, config: DictConfig, overrides: list[str], number: int) -> Job:
    before = HydraConfig.instance().cfg
    try:
        overrides = without_foreign(overrides, lambda given: context.config_loader.load_sweep_config(config, given))
        composed = context.config_loader.load_sweep_config(config, overrides)
        with open_dict(composed):
            composed.hydra.job.id = composed.hydra.job.num = number
        HydraConfig.instance().set_config(composed)  # a copy of Hydra's node; the folder's name is made from it
        choices = {name: str(option) for name, option in composed.hydra.runtime.choices.items()}
        with open_dict(composed):
            del composed["hydra"]
        refused = _refusal(composed)
        if refused:
            return Job(overrides, refused=refused)
        resolved: Any = OmegaConf.to_container(composed, resolve=True)
        return Job(overrides, resolved, choices)
    except Exception:
        return Job(overrides)
    finally:
        HydraConfig.instance().cfg = before


def _refusal(config: DictConfig) -> str:
    try:
        check(config)
    except ValueError as error:
        return str(error)
    return ""


def unfinished(jobs: Sequence[Job]) -> list[Job]:
    """The jobs that are neither finished nor refused; prints those that are finished."""
    todo = []
    for job in jobs:
        if job.refused:
            continue
        if job.finished():
            print(f"finished already: {job}", flush=True)
        else:
            todo.append(job)
    return todo


class _Failed(JobReturn):
    """The result of a failed job, whose failure has been reported.

    Hydra asks for its value at the end of a sweep, and then leaves with exit code 1 and without another message.
    """

    @property
    def return_value(self) -> Any:
        raise SystemExit(1)

    @return_value.setter
    def return_value(self, value: Any) -> None:
        raise AttributeError("a job that failed has no value")


def returns(jobs: Sequence[Job], failures: Container[int]) -> list[JobReturn]:
    """The results that Hydra expects of a launcher, one per job.

    failures: positions in `jobs` of those that failed
    """
    results: list[JobReturn] = []
    for index, job in enumerate(jobs):
        if index in failures:
            results.append(_Failed(overrides=job.overrides, status=JobStatus.FAILED))
            continue
        result = JobReturn(overrides=job.overrides, status=JobStatus.COMPLETED)
        result.return_value = job.score()
        results.append(result)
    return results


def say_failed(job: Job, cause: str) -> None:
    """Print that a job failed, and why. Called when the job fails and again at the end of the sweep."""
    print(failure(job, cause), flush=True)


def failure(job: Job, cause: str) -> str:
    """The line that says that a job failed, and why."""
    return f"failed: {job}: {cause}"


def summarise(jobs: Sequence[Job], failures: Mapping[int, str]) -> None:
    """Print how many jobs of the sweep are finished, those that failed, and the command that compares the others.

    failures: position in `jobs` -> what went wrong
    """
    print(f"{len(jobs) - len(failures)} of {len(jobs)} jobs finished", flush=True)
    causes = list(failures.values())
    for cause in dict.fromkeys(causes):
        if causes.count(cause) > 1:
            print(f"failed, {causes.count(cause)} jobs: {cause}", flush=True)
    for index in sorted(index for index, cause in failures.items() if causes.count(cause) == 1):
        say_failed(jobs[index], failures[index])
    folders = [job.folder.absolute() for index, job in enumerate(jobs) if index not in failures and job.folder]
    if folders:
        above = Path(os.path.commonpath([folder.parent for folder in folders]))
        shown = above.relative_to(Path.cwd()) if above.is_relative_to(Path.cwd()) else above
        print(f"next: lth report {quote(str(shown))} --out report", flush=True)


@contextmanager
def error_file() -> Iterator[tuple[dict[str, str], Callable[[int], str]]]:
    """Context of one job's process: environment variables for it, and a function from exit code to cause of failure.

    The job writes its error message into a temporary file. Without a message the exit code is the cause.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / "error"

        def cause(code: int) -> str:
            text = path.read_text() if path.is_file() else f"ended with code {code}"
            return " ".join(text.split()) if code else ""

        yield {ERROR_FILE: str(path)}, cause


def without_overwrite(command: Sequence[str], restarts: int) -> list[str]:
    """The command with which an engine (Slurm, Ray) starts a job, for the first time or again.

    A restarted job must not overwrite what its first start has trained.

    command: command of the first start
    restarts: number of earlier starts; 0 returns `command` unchanged
    """
    return [*command, "overwrite=false"] if restarts else list(command)
