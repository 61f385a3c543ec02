"""Mean, standard deviation and interval over seeds at each density, one series of points per method."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from lth.report._cost import Cost, costs
from lth.report._intervals import interval_of_mean
from lth.report._sections import Group, Section
from lth.report.collect import Run

_SAME = 2e-3  # relative: two densities that are closer differ in rounding only
_SMALLER = 0.9  # a network with less than this share of the weights of the run's largest one counts as a smaller one
_FRACTION = re.compile(r"acc|top_?\d")  # in names of columns that hold fractions
_OF_LEVELS = ("density", "target_density", "epochs", "seconds")  # columns that say nothing about quality
_FREE = 0.02  # relative: a density further from its target was chosen by training, not by the configuration


@dataclass(frozen=True)
class Point:
    """One density of a series.

    density: fraction of prunable weights kept, 0..1
    n: number of seeds
    mean: mean over seeds of the measured column
    sd: sample standard deviation over seeds; None if n is 1
    low, high: ends of the 95 % interval of the mean, for fractions within 0..1; None where n is below 3
    cost: cost of all training up to this point, mean over seeds
    column: the measured column of results.csv
    seeds: seed -> its value
    runs: folders of the runs that were averaged
    """

    density: float
    n: int
    mean: float
    sd: float | None
    low: float | None
    high: float | None
    cost: Cost
    column: str = "test_accuracy"
    seeds: Mapping[int, float] = field(default_factory=dict)
    runs: tuple[Path, ...] = ()

    @property
    def percent(self) -> bool:
        """Whether the column is an accuracy, which tables show in percent."""
        return is_fraction(self.column)


@dataclass(frozen=True)
class Series:
    """One curve: a group, or one stage of a group whose levels have several stages. Points by falling density."""

    label: str
    group: Group
    stage: str
    points: tuple[Point, ...]


def series_of(section: Section, column: str = "test_accuracy") -> list[Series]:
    """The curves of a section. Only complete runs count: a mean must not mix finished and unfinished replicates.

    section: a section from `sections`
    column: column of results.csv

    Raises ValueError if complete runs have levels but no level has the column.
    """
    found = [series for group in section.groups for series in _of_group(group, column)]
    rows = [row for group in section.groups for run in group.runs if run.complete for row in run.rows]
    if rows and not found:
        there = {key for row in rows for key, value in row.items() if isinstance(value, float)}
        numbers = sorted(there.difference(_OF_LEVELS))
        hint = f"; --column can be one of {numbers}" if numbers else ""
        raise ValueError(f"no level of {section.title} has the column {column!r}{hint}")
    shown = _rounded([point.density for series in found for point in series.points])
    return [
        Series(s.label, s.group, s.stage, tuple(replace(p, density=shown[p.density]) for p in s.points)) for s in found
    ]


def is_fraction(column: str) -> bool:
    """Whether the name of a column of results.csv is that of an accuracy: a fraction, 0..1, higher is better."""
    return bool(_FRACTION.search(column))


def _rounded(densities: Iterable[float]) -> dict[float, float]:
    """Each density -> the shortest number among the densities that differ from it in rounding only."""
    together: list[list[float]] = []
    for density in sorted(set(densities)):
        if together and density <= together[-1][0] * (1 + _SAME):
            together[-1].append(density)
        else:
            together.append([density])
    roundest = [min(alike, key=lambda density: (len(repr(density)), density)) for alike in together]
    return {density: best for alike, best in zip(together, roundest, strict=True) for density in alike}


def level_rows(sections: Sequence[Section], column: str = "test_accuracy") -> list[dict[str, Any]]:
    """One row for each level of each complete run: names, settings, accuracies (fractions), `column` and cost."""
    return [
        {
            "method": group.method,
            "model": section.model,
            "dataset": section.dataset,
            "sparsity": group.sparsity,
            "overrides": ",".join(group.overrides),
            "seed": run.seed,
            "label": group.label,
            **_line(row, column, *cost[row["level"]]),
        }
        for section in sections
        for group in section.groups
        for run in group.runs
        if run.complete
        for cost in [costs(run)]
        for row in run.rows
    ]


def _line(row: Mapping[str, Any], column: str, own: Cost, total: Cost) -> dict[str, Any]:
    names = ("level", "name", "stage", "density", "target_density", "kept")
    accuracies = ("train_accuracy", "val_accuracy", "test_accuracy")
    return {
        **{name: row.get(name) for name in (*names, *accuracies, column)},
        **{
            f"{prefix}{name}": value
            for prefix, cost in (("", own), ("total_", total))
            for name, value in vars(cost).items()
        },
    }


def _of_group(group: Group, column: str) -> list[Series]:
    complete = [run for run in group.runs if run.complete]
    stages = list(dict.fromkeys(row.get("stage") or "" for run in complete for row in run.rows))
    found = []
    for stage in stages:
        points = _points(complete, stage, column)
        if points:
            label = f"{group.label} {stage}" if len(stages) > 1 else group.label
            found.append(Series(label, group, stage if len(stages) > 1 else "", tuple(points)))
    return found


def _points(runs: Sequence[Run], stage: str, column: str) -> list[Point]:
    of_stage = [(run, row) for run in runs for row in run.rows if (row.get("stage") or "") == stage]
    rows = [(run, row) for run, row in of_stage if isinstance(row.get(column), int | float)]
    totals = {id(run): max(_total(row) for row in run.rows) for run in runs}
    free = any(_missed(row, totals[id(run)]) for run, row in rows)
    targets = _rounded([_target(row) for _, row in rows])
    measured: dict[Any, dict[int, dict[Path, Any]]] = defaultdict(lambda: defaultdict(dict))
    price = {id(run): costs(run) for run in runs}
    for run, row in rows:
        target = targets[_target(row)]
        key = (target, row["level"] if free else None)
        measured[key][run.seed][run.path] = (
            row["density"] if free else target,
            row[column],
            price[id(run)][row["level"]][1],
        )
    points = [_point(of_seeds, column) for of_seeds in measured.values()]
    return sorted(points, key=lambda point: -point.density)


def _point(of_seeds: Mapping[int, Mapping[Path, tuple[float, float, Cost]]], column: str) -> Point:
    """The point of some seeds. A seed counts once, as a mean, where several of its runs share the density.

    of_seeds: seed -> folder of the run -> density, value, cost of all training so far
    """
    found = [list(runs.values()) for runs in of_seeds.values()]
    density = _mean([_mean([density for density, _, _ in runs]) for runs in found])
    seeds = {seed: _mean([value for _, value, _ in runs.values()]) for seed, runs in of_seeds.items()}
    cost = Cost.mean([Cost.mean([cost for _, _, cost in runs]) for runs in found])
    values = list(seeds.values())
    low, high = interval_of_mean(values, is_fraction(column)) or (None, None)
    sd, runs = stdev(values) if len(values) > 1 else None, tuple(path for runs in of_seeds.values() for path in runs)
    return Point(density, len(values), _mean(values), sd, low, high, cost, column, seeds, runs)


def _mean(values: Sequence[float]) -> float:
    """The mean; of equal values exactly that value, which rounding of their sum would miss."""
    return values[0] if len(set(values)) == 1 else fmean(values)


def _target(row: Mapping[str, Any]) -> float:
    return row["density"] if row.get("target_density") is None else row["target_density"]


def _total(row: Mapping[str, Any]) -> float:
    """Prunable weights of the level's network."""
    return row.get("kept", 0) / row["density"] if row["density"] else 0.0


def _missed(row: Mapping[str, Any], total: float) -> bool:
    """Whether training chose the level's density, and not the configuration. One weight more or less is rounding.

    total: prunable weights of the run's largest network

    False for a dense network that is smaller than the largest one: it has the size of a ticket by configuration.
    """
    if row["density"] == 1 and _total(row) < _SMALLER * total:
        return False
    return abs(row["density"] - _target(row)) > max(_FREE * _target(row), 1 / total if total else 0.0)
