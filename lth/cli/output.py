"""Tables for people and for files."""

import csv
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

WIDE = 160  # columns where no terminal says how many there are


def console() -> Console:
    """Where tables go; text is not coloured by what it looks like."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else WIDE)


def show(console: Console, rows: Sequence[Mapping[str, Any]], headings: Mapping[str, str]) -> None:
    """Print rows under `headings` (column -> what it is called); the first column is text, the rest numbers."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for index, heading in enumerate(headings.values()):
        table.add_column(heading, justify="right" if index else "left", no_wrap=index > 0, overflow="fold")
    for row in rows:
        table.add_row(*(cell(row.get(column)) for column in headings))
    console.print(table)


def cell(value: Any) -> str:
    """A value as it stands in a table; a dash for what is not known."""
    if value is None:
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """The rows with all their columns, numbers in full."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
