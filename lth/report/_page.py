"""The report as one HTML page: pictures inline, tables, nothing loaded from elsewhere. Its template is page.html."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lth.report._tables import Grid, cell, grids, measured, notes, number, summary_rows
from lth.report.collect import Run
from lth.report.figures import _comparison as comparison
from lth.report.figures._comparison import Panel
from lth.report.figures._leaderboard import ranking_picture
from lth.report.figures._style import INK, svg_text

_CURVES = "Mean over seeds; bands or bars are the 95 % t interval of the mean."
_RANKING = "Best first at the lowest density; bars are one standard deviation."
_LAYERS = "Each method at its lowest density."
_COST = (
    "Cost counts all training that led to a point. Multiply-adds are 3 × those of the kept weights in one forward pass "
    "× the images seen (one pass forward, two backward), without scoring and without dense gradients. Seconds are wall "
    "time and depend on the machine."
)
_COLUMNS = ("method", "density", "n", "mean", "sd", "low", "high", "epochs", "multiply_adds", "seconds")


def page(panels: Sequence[Panel], runs: Sequence[Run], verdict: str, ylabel: str) -> str:
    """The page's text.

    panels: sections with their series
    runs: of every state; those that are not complete are listed with the reason
    verdict: that of the sanity checks in words; empty without any
    ylabel: name of the measured column
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # imported here: it takes a tenth of a second

    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    states = {state: sum(run.state == state for run in runs) for state in ("incomplete", "failed")}
    shown = places(runs)
    return templates.get_template("page.html").render(
        complete=sum(run.complete for run in runs),
        total=len(runs),
        states=" and ".join(f"{count} {state}" for state, count in states.items() if count),
        seeds=", ".join(map(str, sorted({run.seed for run in runs if run.complete}))) or "none",
        verdicts=_verdicts(verdict),
        sections=[_section(panel, ylabel) for panel in panels if panel[1]],
        left_out=[
            {"state": run.state, "place": shown[run.path], "reason": run.reason} for run in runs if not run.complete
        ],
    )


def places(runs: Iterable[Run]) -> dict[Path, str]:
    """Folder of each run -> its path as shown to a reader: without the folders that all runs have in common."""
    paths = [run.path for run in runs]
    shared = 0
    while len({path.parts[:shared] for path in paths}) == 1 and all(len(path.parts) > shared for path in paths):
        shared += 1
    keep = max(min(shared - 1, min((len(path.parts) for path in paths), default=1) - 1) - 1, 0)
    return {path: "/".join(path.parts[keep:]).lstrip("/") for path in paths}


def _verdicts(text: str) -> list[dict[str, str]]:
    """Title, outcome and conditions of each paragraph."""
    paragraphs = [[*paragraph.splitlines(), "", ""] for paragraph in text.split("\n\n")] if text else []
    return [
        {"title": title, "outcome": outcome, "conditions": "\n".join(line for line in rest if line)}
        for title, outcome, *rest in paragraphs
    ]


def _section(panel: Panel, ylabel: str) -> dict[str, Any]:
    section, series = panel
    ranked, layers = ranking_picture([panel], ylabel, titles=False), comparison.layers([panel], titles=False)
    rows, percent = summary_rows(section, series), series[0].points[0].percent
    return {
        "title": section.title,
        "curves": _figure(comparison.curves([panel], ylabel, titles=False), _CURVES),
        "ranking": _figure(ranked, _RANKING) if ranked else None,
        "tables": [_table(table) for table in grids(section, series)],
        "notes": notes(section, series),
        "layers": _figure(layers, _LAYERS) if layers else None,
        "cost": _figure(comparison.cost([panel], ylabel, titles=False), _COST),
        "head": [name.replace("_", " ") for name in _COLUMNS],
        "numbers": [[_written(name, row[name], percent) for name in _COLUMNS] for row in rows],
    }


def _figure(figure: Any, caption: str) -> dict[str, Any]:
    """A picture as an SVG element without size and namespaces, in the page's text colour."""
    from markupsafe import Markup

    drawing = svg_text(figure)
    drawing = re.sub(r' width="[\d.]+pt" height="[\d.]+pt"', "", drawing[drawing.index("<svg ") :], count=1)
    drawing = re.sub(r"<metadata>.*?</metadata>", "", drawing, flags=re.DOTALL)
    drawing = re.sub(r' xmlns(:xlink)?="[^"]*"', "", drawing).replace("xlink:href", "href")
    width = round(figure.get_figwidth() * 100)
    element = f'<svg role="img" style="--wide:{width}px" '
    drawing = re.sub("<svg ", element, drawing.replace(INK, "currentColor"), count=1)
    return {"svg": Markup(drawing), "caption": caption}  # matplotlib escapes the labels it writes


def _table(table: Grid) -> dict[str, Any]:
    points = table.cells.values()
    small = " Small: 95 % t interval." if any(point.low is not None for point in points) else ""
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


def _written(name: str, value: Any, percent: bool) -> str:
    if value is None:
        return "–"
    if percent and name in ("mean", "sd", "low", "high"):
        return f"{100 * value:.2f} %"
    return number(value) if isinstance(value, float) else str(value)
