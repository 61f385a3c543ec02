"""The tables of one run, from the outcomes of its finished levels: results, layers, topology and events (CSV)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import Any

from rich.console import Console

from lth.report.output import Row, print_table, write_csv
from lth.storage.folder import RunFolder

_HEADINGS = {
    "level": "level",
    "density": "density",
    "kept": "kept",
    "train_loss": "train loss",
    "val_accuracy": "val acc",
    "test_accuracy": "test acc",
    "seconds": "seconds",
}
_IMPORTANCE = ("level", "density", "test_accuracy", "val_accuracy", "kept", "train_loss", "seconds")


def write_tables(folder: Path, outcomes: Sequence[Mapping[str, Any]]) -> None:
    """Write the tables of all finished levels, each file atomically, so that a crash leaves no partial row.

    folder: the run's folder
    outcomes: one per level: `row` of results.csv, and lists of rows `layers`, `topology`, `events`
    """
    write_csv(folder / "results.csv", [outcome["row"] for outcome in outcomes])
    write_csv(folder / "layers.csv", rows_of("layers", outcomes))
    for name in ("topology", "events"):
        rows = rows_of(name, outcomes)
        if rows:
            write_csv(folder / f"{name}.csv", rows)


def rows_of(name: str, outcomes: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows of the list `name` of all outcomes, each with its level."""
    return [{"level": outcome["row"]["level"], **row} for outcome in outcomes for row in outcome.get(name, [])]


def print_levels(console: Console, folder: Path, rows: Sequence[Row], title: str) -> float | None:
    """Print one line per level, the paths of the table and the picture, and what to do next.

    Returns the last level's validation accuracy, or its test accuracy if no images are held out for validation.
    """
    shown = [{**row, "level": str(row["level"]), "seconds": f"{row['seconds']:.1f}"} for row in rows]
    print_table(console, shown, _HEADINGS, title, _IMPORTANCE)
    tickets = [level / "ticket.safetensors" for level in RunFolder(folder).levels]
    lines = [
        *(str(folder / name) for name in ("results.csv", "curve.png")),
        "",
        "next:",
        f"  lth report {quote(str(_all_runs(folder)))} --out report",
        *(f"  lth ticket show {quote(str(ticket))}" for ticket in tickets[-1:] if ticket.is_file()),
    ]
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False, markup=False)
    return rows[-1].get("val_accuracy", rows[-1].get("test_accuracy"))


def _all_runs(folder: Path) -> Path:
    """The folder whose runs are compared with this one: `runs`, or the one above a folder of the user's choice."""
    return Path(folder.parts[0]) if folder.parts[0] == "runs" else folder.parent


def title_of(config: Mapping[str, Any]) -> str:
    """The title of a run's table and pictures, such as `imp of resnet20 on cifar10`.

    config: the run's resolved configuration
    """
    return "{method} of {model} on {dataset}".format(**config["choices"])


def pictures_of(outcomes: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names of the pictures of a run's finished levels."""
    return ["curve.png", *(["topology.png"] if any(outcome.get("topology") for outcome in outcomes) else [])]
