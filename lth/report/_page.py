"""The report as one HTML page: text from page.html, interactive figures and tables from the scripts beside it.

Nothing is loaded from elsewhere, and a content security policy allows only the page's own scripts, by their hashes.
"""

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lth.report._page_data import as_json, page_data
from lth.report._sections import Section
from lth.report._series import Series
from lth.report._tables import Grid, cell, grids, measured, notes
from lth.report._verdicts import HEADINGS, condition_matrices
from lth.report.collect import Run

_FILES = Path(__file__).parent / "page"
_SCRIPTS = ("basics.js", "look.js", "table.js", "charts.js", "best.js", "runs.js", "more.js", "sections.js", "watch.js")


def page(panels: Sequence[tuple[Section, Sequence[Series]]], runs: Sequence[Run], judged: Any, column: str) -> str:
    """The HTML of the page.

    panels: sections with their series; those whose runs are all unfinished have none
    runs: runs of every state; those that are not complete are listed with the reason
    judged: verdicts of the sanity checks, from `judge_all`
    column: the measured column of results.csv
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # imported here: it takes a tenth of a second
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs  # imported here: it takes half a second

    templates = Environment(
        loader=FileSystemLoader(_FILES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    scripts = [get_plotlyjs().replace("\r\n", "\n"), "\n".join(["'use strict';(()=>{", *map(_text, _SCRIPTS), "})();"])]
    return templates.get_template("page.html").render(
        **template_values(panels, runs, judged, column),
        style=Markup(_text("page.css")),
        scripts=[Markup(script) for script in scripts],
        hashes=Markup(" ".join(f"'sha256-{_hash(script)}'" for script in scripts)),
        data=Markup(as_json(page_data(panels, places(runs), column))),
    )


def template_values(
    panels: Sequence[tuple[Section, Sequence[Series]]], runs: Sequence[Run], judged: Any, column: str
) -> dict[str, Any]:
    """The values of the template that are text and tables."""
    states = {state: sum(run.state == state for run in runs) for state in ("incomplete", "failed")}
    shown = places(runs)
    return {
        "complete": sum(run.complete for run in runs),
        "total": len(runs),
        "states": " and ".join(f"{count} {state}" for state, count in states.items() if count),
        "seeds": ", ".join(map(str, sorted({run.seed for run in runs if run.complete}))) or "none",
        "verdicts": condition_matrices(judged),
        "headings": HEADINGS,
        "column": column.replace("_", " "),
        "sections": [_section(section, series) for section, series in panels],
        "left_out": [
            {"state": run.state, "place": shown[run.path], "reason": run.reason} for run in runs if not run.complete
        ],
    }


def places(runs: Iterable[Run]) -> dict[Path, str]:
    """Folder of each run -> its path as shown to a reader: without the folders that all runs have in common."""
    paths = [run.path for run in runs]
    shared = 0
    while len({path.parts[:shared] for path in paths}) == 1 and all(len(path.parts) > shared for path in paths):
        shared += 1
    keep = max(min(shared - 1, min((len(path.parts) for path in paths), default=1) - 1) - 1, 0)
    return {path: "/".join(path.parts[keep:]).lstrip("/") for path in paths}


def _text(name: str) -> str:
    return (_FILES / name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _section(section: Section, series: Sequence[Series]) -> dict[str, Any]:
    return {
        "title": section.title,
        "tables": [_table(table) for table in grids(section, series)] if series else [],
        "notes": notes(section, series),
    }


def _table(table: Grid) -> dict[str, Any]:
    points = table.cells.values()
    small = " Small: 95 % interval." if any(point.low is not None for point in points) else ""
    bold = " Bold: the best mean at its density." if table.best else ""
    with_n = len({point.n for point in points}) > 1
    return {
        "caption": f"{table.caption}{small}{bold}",
        "head": [table.corner, *table.columns],
        "rows": [
            {"name": row, "cells": [_cell(table, row, column, with_n) for column in table.columns]}
            for row in table.rows
        ],
    }


def _cell(table: Grid, row: str, column: str, with_n: bool) -> Mapping[str, Any] | None:
    point = table.cells.get((row, column))
    if point is None:
        return None
    interval = ""
    if point.low is not None and point.high is not None:
        interval = f"{measured(point, point.low)} to {measured(point, point.high)}"
    return {"text": cell(point, with_n), "interval": interval, "best": (row, column) in table.best}
