"""Data of single runs for the page: command, settings in which runs differ, levels, layers, tables."""

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from lth.report._cost import costs
from lth.report._sections import Group, is_execution_key
from lth.report.collect import Run
from lth.storage.flat import flattened

LEVEL_COLUMNS = ("level", "name", "stage", "density", "test_accuracy", "val_accuracy", "train_accuracy", "train_loss")
_COST_COLUMNS = ("epochs", "multiply_adds", "seconds")
_LONGEST_ERROR = 4000  # characters of error.txt, its end
_LONGEST_VALUE = 200  # characters of a setting
_MOST_EPOCHS = 120  # most records of a table over epochs; of longer tables every second, third, ... is kept
_DROPPED = re.compile(r"overwrite=|folder=''$")


def json_number(value: Any) -> Any:
    """A float with six significant digits, None for what is no number in JSON; other values as they are."""
    if not isinstance(value, float):
        return value
    return float(f"{value:.6g}") if abs(value) < float("inf") else None


def run_data(run: Run, place: str, group: Group, names: list[tuple[str, ...]]) -> dict[str, Any]:
    """One run for the page.

    place: the run's path as shown
    group: the run's group
    names: layer names, one tuple per kind of network; those of this run are added in place
    """
    command, rebuilt = _command(run, group)
    price = costs(run)
    levels = [
        [json_number(row.get(column)) for column in LEVEL_COLUMNS]
        + [json_number(vars(price[row["level"]][1])[name]) for name in _COST_COLUMNS]
        for row in run.rows
    ]
    tables = {name: _columns(rows) for name, rows in run.measured.items()}
    layers = _layers(run, names)
    found = {
        "place": place,
        "folder": run.typed,
        "seed": run.seed,
        "state": run.state,
        "reason": run.reason,
        "label": group.label,
    }
    found |= {"command": command, "rebuilt": rebuilt, "levels": levels, "error": run.error[-_LONGEST_ERROR:]}
    return {**found, "layers": layers, "tables": tables, "made": _made_with(run.record)}


def settings(runs: Sequence[Run]) -> dict[str, Any]:
    """The configurations: `common`, key -> value, and `varying`, key -> {values, of: index of each run's value}.

    A run without the key has the index -1. Seeds, and keys that say where and how a run works, are left out.
    """
    every = [_shown(run) for run in runs]
    common: dict[str, str] = {}
    varying: dict[str, dict[str, Any]] = {}
    for key in sorted({key for one in every for key in one}):
        values = {value: index for index, value in enumerate(dict.fromkeys(one[key] for one in every if key in one))}
        if len(values) == 1 and all(key in one for one in every):
            common[key] = next(iter(values))
        else:
            varying[key] = {"values": list(values), "of": [values[one[key]] if key in one else -1 for one in every]}
    return {"common": common, "varying": varying}


def _shown(run: Run) -> dict[str, str]:
    return {
        key: _text(value)
        for key, value in flattened(run.config).items()
        if not is_execution_key(key) and not key.startswith("seeds.")
    }


def _text(value: Any) -> str:
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 1]}…"


def _command(run: Run, group: Group) -> tuple[str, bool]:
    """The command line, and whether it was rebuilt from the folder's name because none was recorded."""
    started = run.record.get("command")  # of a script
    if isinstance(started, Sequence) and not isinstance(started, str) and all(isinstance(one, str) for one in started):
        return shlex.join(started), False
    given = run.record.get("overrides")
    if isinstance(given, Sequence) and not isinstance(given, str) and all(isinstance(one, str) for one in given):
        return shlex.join(["lth", "run", *(one for one in given if not _DROPPED.match(one))]), False
    if "settings" in run.config:  # of a script, whose command is not known
        return "", False
    density = run.config.get("sparsity", {}).get("density")
    words = [f"{name}={run.choices[name]}" for name in ("method", "model", "dataset")]
    words += [f"sparsity={group.sparsity}"] if group.sparsity else []
    words += [f"sparsity.density={density:g}"] if isinstance(density, int | float) else []
    return shlex.join(["lth", "run", *words, *group.overrides, f"seed={run.seed}"]), True


def _layers(run: Run, names: list[tuple[str, ...]]) -> dict[str, Any] | None:
    """Index of its layers' names, and per level the densities of the layers."""
    tables = {level: rows for level, rows in run.layers.items() if rows}
    if not tables:
        return None
    kinds = {level: tuple(str(row.get("layer")) for row in rows) for level, rows in tables.items()}
    kind = next(iter(kinds.values()))
    if kind not in names:
        names.append(kind)
    values = {
        str(level): [_rounded(row.get("density")) for row in rows]
        for level, rows in tables.items()
        if kinds[level] == kind
    }
    return {"names": names.index(kind), "levels": values}


def _rounded(value: Any) -> float | None:
    return float(f"{value:.4g}") if isinstance(value, int | float) and abs(value) < float("inf") else None


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    step = -(-len(rows) // _MOST_EPOCHS)
    kept = [row for index, row in enumerate(rows) if index % step == 0 or index == len(rows) - 1]
    return {key: [json_number(row.get(key)) for row in kept] for key in rows[0]}


def _made_with(record: Mapping[str, Any]) -> str:
    """Versions, revision and hardware in one line."""
    packages, hardware = (record.get(name) or {} for name in ("packages", "hardware"))
    if not (isinstance(packages, Mapping) and isinstance(hardware, Mapping)):
        return ""
    words = [f"{name} {packages[name]}" for name in ("lth", "torch") if packages.get(name)]
    words += [f"revision {record['git']}"] if record.get("git") else []
    gpus = hardware.get("gpus")
    words += [", ".join(map(str, gpus))] if isinstance(gpus, list) and gpus else [str(hardware.get("cpu") or "")]
    return ", ".join(word for word in words if word)
