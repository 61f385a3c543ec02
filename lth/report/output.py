"""Tables for a terminal, CSV files and picture files."""

import csv
import io
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from lth.storage.atomic import write_text, write_with

Row = Mapping[str, Any]
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # first characters of a formula, in spreadsheets
_WIDTH = 160  # columns if the output is not a terminal
_NARROWEST = 20  # columns of the screen for the first column of a table
_UNLIMITED = 10_000


def console() -> Console:
    """The standard output for tables. Numbers and paths are not coloured."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH)


def print_table(
    screen: Console,
    rows: Sequence[Row],
    headings: Mapping[str, str],
    title: str | None = None,
    importance: Sequence[str] = (),
) -> None:
    """Print rows as a table, the first column left-aligned, the others (numbers) right-aligned.

    screen: where to print; columns that do not fit are left out, the least important first, and are named below
    rows: column -> value; None and missing values are printed as a dash, floats with four decimals
    headings: column -> heading, in the order of the columns
    title: printed above; a table with a title has borders
    importance: columns, the most important first; the default is their order
    """
    kept = list(importance or headings)
    table = _table(rows, {name: text for name, text in headings.items() if name in kept}, title)
    while len(kept) > 1 and _width(screen, table) > screen.width:
        kept.pop()
        table = _table(rows, {name: text for name, text in headings.items() if name in kept}, title)
    screen.print(table)
    left_out = [text for name, text in headings.items() if name not in kept]
    if left_out:
        screen.print(f"a wider terminal shows {', '.join(left_out)} too", highlight=False, soft_wrap=True)


def _table(rows: Sequence[Row], headings: Mapping[str, str], title: str | None) -> Table:
    table = Table(title=title, header_style="bold") if title else Table(box=None, header_style="bold", pad_edge=False)
    for index, heading in enumerate(headings.values()):
        table.add_column(heading, justify="right" if index else "left", no_wrap=index > 0, overflow="fold")
    for row in rows:
        table.add_row(*(_cell(row.get(column)) for column in headings))
    return table


def _width(screen: Console, table: Table) -> int:
    """The columns of the screen that a table needs. Its first column may be folded to `_NARROWEST`."""
    whole = screen.measure(table, options=screen.options.update(width=_UNLIMITED)).maximum
    first = max(map(cell_len, map(str, [table.columns[0].header, *table.columns[0].cells])))
    return whole - max(0, first - _NARROWEST)


def write_csv(path: Path, rows: Sequence[Row]) -> Path:
    """Write rows as CSV, atomically, unless the file already has this content. Returns `path`.

    The columns are those of all rows in order of appearance. Floats are written in full. Texts that a spreadsheet would
    read as a formula begin with an apostrophe.
    """
    columns = list(dict.fromkeys(column for row in rows for column in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({column: _no_formula(value) for column, value in row.items()} for row in rows)
    if not path.is_file() or path.read_bytes() != text.getvalue().encode():
        write_text(path, text.getvalue())
    return path


def save_picture(figure: Any, *paths: Path) -> None:
    """Write a figure in the format of each path's suffix, in the style of all pictures. Equal figures give equal bytes.

    figure: a matplotlib figure
    paths: files that end in .png or .svg
    """
    from lth.report.figures._style import styled  # imported here: modules of the figures import this one

    for path in paths:
        options = {"metadata": {"Date": None}} if path.suffix == ".svg" else {}
        write_with(path, partial(styled(figure.savefig), dpi=150, **options))
        figure.set_layout_engine("none")  # the places found for the first file hold for the others


def _no_formula(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
