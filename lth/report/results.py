"""What an experiment leaves for people: results.csv, layers.csv, curve.png and the table at its end."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from lth.storage.atomic import write_atomically

Row = Mapping[str, Any]


def write_tables(folder: Path, outcomes: Sequence[Mapping[str, Any]]) -> None:
    """Write the tables from what the finished levels left: whole each time, so that a crash leaves no half row."""
    write_atomically(folder / "results.csv", as_csv([outcome["row"] for outcome in outcomes]))
    write_atomically(folder / "layers.csv", as_csv(_gathered("layers", outcomes)))
    for name in ("topology", "events"):
        rows = _gathered(name, outcomes)
        if rows:
            write_atomically(folder / f"{name}.csv", as_csv(rows))


def _gathered(what: str, outcomes: Sequence[Mapping[str, Any]]) -> list[Row]:
    return [{"level": o["row"]["level"], **row} for o in outcomes for row in o.get(what, [])]


def as_csv(rows: Sequence[Row]) -> str:
    """Rows as CSV text; the columns are those of all rows, in order of appearance."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def draw_curve(folder: Path, rows: Sequence[Row], title: str) -> Path:
    """Accuracy (fraction) against density (log axis, falling), as a PNG."""
    from matplotlib.figure import Figure  # imported here: it takes a second, and only this needs it

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    for column, label in (("test_accuracy", "test"), ("val_accuracy", "validation"), ("train_accuracy", "train")):
        points = [(row["density"], row[column]) for row in rows if row.get(column) is not None]
        if points:
            axes.plot(*zip(*points, strict=True), marker="o", markersize=3, label=label)
    axes.set(ylabel="accuracy", title=title)
    density_axis(axes, [row["density"] for row in rows])
    axes.legend()
    path = folder / "curve.png"
    figure.savefig(path, dpi=120)
    return path


def draw_topology(folder: Path, outcomes: Sequence[Mapping[str, Any]], title: str) -> Path | None:
    """How masks changed within the levels: density of each layer, churn and share ever active, against the step."""
    rows = _gathered("topology", outcomes)
    if not rows:
        return None
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    offsets = _offsets([outcome["row"] for outcome in outcomes])
    for layer in dict.fromkeys(row["layer"] for row in rows):
        points = [(offsets[row["level"]] + row["step"], row["density"]) for row in rows if row["layer"] == layer]
        total = layer == "total"
        left.plot(*zip(*points, strict=True), color="black" if total else None, lw=2 if total else 0.8, label=layer)
    for column in ("churn", "ever_active"):
        points = [(offsets[row["level"]] + row["step"], row[column]) for row in rows if row["layer"] == "total"]
        right.plot(*zip(*points, strict=True), label=column.replace("_", " "))
    left.set(yscale="log", xlabel="optimizer step", ylabel="density of the layer", title=title)
    right.set(xlabel="optimizer step", ylabel="fraction", title="masks over time")
    if len(left.lines) <= 12:
        left.legend(fontsize=6)
    right.legend()
    path = folder / "topology.png"
    figure.savefig(path, dpi=120)
    return path


def _offsets(rows: Sequence[Row]) -> dict[int, int]:
    """Optimizer steps before each level."""
    return {row["level"]: sum(r["steps"] for r in rows if r["level"] < row["level"]) for row in rows}


def density_axis(axes: Any, densities: Sequence[float]) -> None:
    """A logarithmic axis of falling density, with ticks a person would write."""
    axes.set(xscale="log", xlabel="density (fraction of prunable weights kept)")
    lowest = min(densities, default=1.0)
    ticks = [t for power in range(6) for t in (10.0**-power, 5 * 10.0 ** -(power + 1), 2 * 10.0 ** -(power + 1))]
    shown = [tick for tick in ticks if tick >= lowest * 0.99]
    axes.set_xticks(shown, labels=[f"{tick:g}" for tick in shown])
    axes.set_xticks([], minor=True)
    axes.invert_xaxis()
    axes.grid(alpha=0.3)


def show(console: Console, folder: Path, rows: Sequence[Row], title: str) -> None:
    """Print the table of levels and where the files are."""
    table = Table(title=title)
    for heading in ("level", "density", "kept", "train loss", "val acc", "test acc", "seconds"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        measured = [_number(row.get(name)) for name in ("train_loss", "val_accuracy", "test_accuracy")]
        table.add_row(str(row["level"]), f"{row['density']:.4f}", str(row["kept"]), *measured, f"{row['seconds']:.1f}")
    console.print(table)
    for name in ("results.csv", "curve.png"):
        console.print(f"{folder / name}", soft_wrap=True, highlight=False)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
