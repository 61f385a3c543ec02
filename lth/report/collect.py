"""Runs found in folders: results of their levels, and whether they are complete."""

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lth.storage.folder import RunFolder, all_finished
from lth.storage.renamed import current_path

# configuration of a run whose config.yaml cannot be read
UNREAD = {"seed": None, "choices": dict.fromkeys(("method", "model", "dataset"), "unknown")}


@dataclass(frozen=True)
class Run:
    """One run's folder.

    config: resolved configuration; UNREAD where it cannot be read
    rows: rows of results.csv, one per finished level
    state: complete, incomplete (running or stopped) or failed
    reason: why it is not complete, in words
    layers: level -> rows of layers.csv
    epochs_density: level -> density after each epoch
    series: configuration with seed and density masked; None in folders of earlier versions
    record: versions and hardware that the run started with, and its overrides of the command line
    measured: name of a table that some runs have (topology, connectivity, around_pruning, hessian) -> its rows; for
        topology, the rows of all layers together
    error: content of error.txt of a failed run
    """

    path: Path
    config: Mapping[str, Any]
    rows: tuple[Mapping[str, Any], ...]
    state: str
    reason: str = ""
    layers: Mapping[int, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    epochs_density: Mapping[int, Sequence[float]] = field(default_factory=dict)
    series: Mapping[str, Any] | None = None
    record: Mapping[str, Any] = field(default_factory=dict)
    measured: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    error: str = ""

    @property
    def complete(self) -> bool:
        """Whether all its levels are finished, with finite training losses and test accuracies."""
        return self.state == "complete"

    @property
    def seed(self) -> int:
        """The seed of the replicate."""
        return self.config["seed"]

    @property
    def is_sanity_check(self) -> bool:
        """Whether it is a run of method=sanity, whose levels are controls that do not continue one another."""
        plan = self.config.get("method", {}).get("plan") or {}
        return current_path(str(plan.get("_target_", ""))).startswith("lth.plan.sanity_plan")

    @property
    def typed(self) -> str:
        """Its path for a command line: relative if it lies in the working folder, else absolute."""
        here = Path.cwd()
        return str(self.path.relative_to(here)) if self.path.is_relative_to(here) else str(self.path)

    @property
    def choices(self) -> Mapping[str, str]:
        """The names of its method, model and dataset."""
        return self.config["choices"]


def collect(paths: Iterable[str | Path], known: dict[Path, tuple[Any, Run]] | None = None) -> list[Run]:
    """The runs under `paths`, by folder name, each once.

    paths: folders that hold runs, at any depth
    known: cache of earlier calls, extended in place; unchanged runs are not read again

    Raises ValueError when there is none.
    """
    found = sorted({file.parent.resolve() for path in paths for file in Path(path).rglob("config.yaml")})
    if not found:
        raise ValueError(f"no run under {', '.join(map(str, paths))}: a run's folder holds a config.yaml")
    if known is None:
        return [_read(folder) for folder in found]
    for folder in found:
        stamp = _stamp(folder)
        if folder not in known or known[folder][0] != stamp:
            known[folder] = stamp, _read(folder)
    return [known[folder][1] for folder in found]


def _stamp(folder: Path) -> tuple[Any, ...]:
    """A value that changes when a file that `_read` reads changes, and when the run begins or ends."""
    files = [*folder.glob("level_*"), *folder.glob("level_*/finished"), *folder.glob("*.csv")]
    files += [folder / name for name in ("config.yaml", "error.txt", "curve.png")]
    times = [(file.name, file.stat().st_mtime_ns) for file in sorted(files) if file.exists()]
    return (*times, _held(folder / ".lock"))


def _read(folder: Path) -> Run:
    """The run in a folder. One whose files cannot be read has the state failed."""
    run = RunFolder(folder)
    try:
        stored = run.stored(shared=True)
        config, series, planned = stored["config"], stored.get("series"), stored.get("levels")
        if not all(isinstance(config["choices"][key], str) for key in ("method", "model", "dataset")):
            raise ValueError("names must be text")
    except (OSError, ValueError, KeyError, TypeError):
        return Run(folder, UNREAD, (), "failed", "its config.yaml was not written by lth, or is damaged")
    if not isinstance(config.get("seed"), int):
        return Run(folder, UNREAD, (), "failed", f"its seed is {config.get('seed')!r}, which is no whole number")
    try:
        outcomes = [outcome for level in run.levels if (outcome := run.finished(level)) is not None]
        rows = tuple(outcome["row"] for outcome in outcomes)
        for row in rows:
            if not (isinstance(row["level"], int) and isinstance(row["density"], int | float)):
                raise ValueError("level and density must be numbers")
    except (OSError, ValueError, KeyError, TypeError) as error:
        return Run(folder, config, (), "failed", f"a level's result cannot be read ({error})")
    of_levels = {outcome["row"]["level"]: outcome["curves"] for outcome in outcomes if outcome.get("curves")}
    epochs = {**_epochs(folder), **of_levels}
    state, reason = _state(folder, rows, epochs, planned)
    layers = {outcome["row"]["level"]: outcome.get("layers", []) for outcome in outcomes}
    densities = {level: [float(row["density"]) for row in of_level] for level, of_level in epochs.items()}
    record, failure = stored.get("record"), _error(folder) if state == "failed" else ""
    record, measured = record if isinstance(record, Mapping) else {}, _measured(folder, outcomes)
    return Run(folder, config, rows, state, reason, layers, densities, series, record, measured, failure)


def _error(folder: Path) -> str:
    try:
        return (folder / "error.txt").read_text(errors="replace")
    except OSError:
        return ""


def _measured(folder: Path, outcomes: Sequence[Mapping[str, Any]]) -> dict[str, Sequence[Mapping[str, Any]]]:
    """The tables that only some runs have. Rows that cannot be read are left out with their table."""
    topology = [
        {"level": outcome["row"]["level"], **row}
        for outcome in outcomes
        for row in outcome.get("topology") or ()
        if row.get("layer") == "total"
    ]
    tables = {name: _numbers(folder / f"{name}.csv") for name in ("connectivity", "around_pruning", "hessian")}
    return {name: rows for name, rows in {"topology": topology, **tables}.items() if rows}


def _numbers(path: Path) -> list[dict[str, Any]]:
    """The rows of a CSV file, with numbers where the cells are numbers; empty where it cannot be read."""
    try:
        with path.open(newline="") as file:
            return [{key: _number(text) for key, text in row.items()} for row in csv.DictReader(file)]
    except (OSError, ValueError, csv.Error):
        return []


def _number(text: Any) -> Any:
    try:
        return float(text)
    except (TypeError, ValueError):
        return text


def _state(
    folder: Path,
    rows: Sequence[Mapping[str, Any]],
    epochs: Mapping[int, Sequence[Mapping[str, str]]],
    planned: int | None,
) -> tuple[str, str]:
    """State and reason of a run."""
    for row in rows:
        for column in ("train_loss", "test_accuracy"):
            if not math.isfinite(row.get(column) or 0.0):
                return "failed", f"{column} of level {row['level']} is {row[column]}"
    held = _held(folder / ".lock")
    if not held and (folder / "error.txt").is_file():
        return "failed", (folder / "error.txt").read_text(errors="replace").partition("\n")[0]
    if all_finished(folder, planned):
        return "complete", ""
    begun = [level.name for level in RunFolder(folder).levels if not (level / "finished").is_file()]
    doing = "still running" if held else "stopped"
    where = "before its first level" if not rows else f"after level {rows[-1]['level']}"
    if begun:
        done = len(epochs.get(int(begun[0].split("_")[1]), ()))
        where = f"in {begun[0]}, {done} epochs into it"
    finished = f"{len(rows)} level{'' if len(rows) == 1 else 's'} finished"
    return "incomplete", f"{doing} {where}; {finished}"


def _held(lock: Path) -> bool:
    """Whether a process of this machine holds the lock.

    The lock is not tried, because a job that starts at that moment would be refused.
    """
    try:
        held, stat = Path("/proc/locks").read_text(), lock.stat()
    except OSError:  # no lock file, or no /proc: no process is known to run
        return False
    return any(fields.rsplit(":", 1)[-1] == str(stat.st_ino) for line in held.splitlines() for fields in line.split())


def _epochs(folder: Path) -> dict[int, list[dict[str, str]]]:
    """Level -> rows of metrics.csv with a density; empty where there is no such file."""
    try:
        with (folder / "metrics.csv").open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if row.get("level") and row.get("density")]
        [(int(row["level"]), float(row["density"])) for row in rows]
    except (OSError, ValueError, csv.Error):
        return {}
    return {level: [r for r in rows if int(r["level"]) == level] for level in sorted({int(r["level"]) for r in rows})}
