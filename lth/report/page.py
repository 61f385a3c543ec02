"""One HTML page that holds the whole report: pictures inline, tables, nothing from elsewhere."""

import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from lth.report.collect import Run
from lth.report.figures import picture
from lth.report.figures.picture import INK, Panel
from lth.report.figures.ranking import ranking_picture
from lth.report.style import CSS
from lth.report.tables import Grid, cell, grids, notes, number, summary_rows

COST_NOTE = (
    "Cost counts all training that led to a point. Multiply-adds are 3 × those of the kept weights in one forward pass "
    "× the images seen (one pass forward, two backward), without scoring and without dense gradients. Seconds are wall "
    "time and depend on the machine."
)


def page(panels: Sequence[Panel], runs: Sequence[Run], verdict: str, ylabel: str) -> str:
    """The page's text. verdict: that of the sanity checks in words, empty without any."""
    body = [_head(runs), _verdict(verdict)]
    body += [_section(panel, ylabel) for panel in panels if panel[1]]
    body += [_unfinished(runs), _footer()]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Pruning report</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="color-scheme" content="light dark"><style>{CSS}</style></head>\n'
        f"<body><main>{''.join(body)}</main></body></html>\n"
    )


def places(runs: Iterable[Run]) -> dict[Path, str]:
    """Each run's folder as a person wants to read it: without what all of them have in common."""
    paths = [run.path for run in runs]
    shared = 0
    while len({path.parts[:shared] for path in paths}) == 1 and all(len(path.parts) > shared for path in paths):
        shared += 1
    keep = max(min(shared - 1, min((len(path.parts) for path in paths), default=1) - 1) - 1, 0)
    return {path: "/".join(path.parts[keep:]).lstrip("/") for path in paths}


def svg(figure: Any) -> str:
    """A figure as an element of the page: see-through, in the page's colour of ink."""
    drawing = picture.svg_text(figure)
    drawing = re.sub(r' width="[\d.]+pt" height="[\d.]+pt"', "", drawing[drawing.index("<svg ") :], count=1)
    drawing = re.sub(r"<metadata>.*?</metadata>", "", drawing, flags=re.DOTALL)
    drawing = re.sub(r' xmlns(:xlink)?="[^"]*"', "", drawing).replace("xlink:href", "href")
    width = round(figure.get_figwidth() * 100)
    return re.sub("<svg ", f'<svg role="img" style="--wide:{width}px" ', drawing.replace(INK, "currentColor"), count=1)


def _head(runs: Sequence[Run]) -> str:
    complete = sum(run.complete for run in runs)
    left = [f"{sum(run.state == state for run in runs)} {state}" for state in ("incomplete", "failed")]
    left = [text for text in left if not text.startswith("0 ")]
    seeds = sorted({run.seed for run in runs if run.complete})
    apart = f' · <a href="#unfinished">{" and ".join(left)}, left out</a>' if left else " · all of them"
    said = f"<strong>{complete}</strong> of {len(runs)} runs complete{apart if complete else ''}"
    return f"<header><h1>Pruning report</h1><p>{said} · seeds {', '.join(map(str, seeds)) or 'none'}</p></header>"


def _verdict(text: str) -> str:
    """Each paragraph's outcome, with its conditions to unfold."""
    parts = []
    for paragraph in text.split("\n\n"):
        head, outcome, *rest = [*paragraph.splitlines(), "", ""]
        details = "\n".join(line for line in rest if line)
        unfolding = f"<details><summary>conditions</summary><pre>{escape(details)}</pre></details>" if details else ""
        name = "h3" if not outcome else "strong"
        parts.append(f"<div class=verdict><{name}>{escape(head)}</{name}> {escape(outcome)}{unfolding}</div>")
    return f"<section><h2>Does the ticket win?</h2>{''.join(parts)}</section>" if text else ""


def _section(panel: Panel, ylabel: str) -> str:
    section, series = panel
    heat = picture.layers([panel], titles=False)
    ranked = ranking_picture([panel], ylabel, titles=False)
    parts = [
        f"<h2>{escape(section.title)}</h2>",
        _figure(
            picture.curves([panel], ylabel, titles=False),
            "Mean over seeds; bands or bars are the 95 % t interval of the mean.",
        ),
        _figure(ranked, "Best first at the lowest density; bars are one standard deviation.") if ranked else "",
        *map(_table, grids(section, series)),
        "".join(f"<p class=note>{escape(line)}</p>" for line in notes(section, series)),
        "<h3>Where the weights are</h3>" + _figure(heat, "Each method at its lowest density.") if heat else "",
        "<h3>What it cost</h3>" + _figure(picture.cost([panel], ylabel, titles=False), COST_NOTE),
        "<details><summary>Every number: n, interval, cost</summary>" + _numbers(summary_rows(section, series)),
        "</details>",
    ]
    return f"<section>{''.join(parts)}</section>"


def _figure(figure: Any, words: str) -> str:
    return f"<figure><div class=wide>{svg(figure)}</div><figcaption>{escape(words)}</figcaption></figure>"


def _table(table: Grid) -> str:
    head = "".join(f"<th scope=col>{escape(name)}</th>" for name in (table.corner, *table.columns))
    lines = []
    with_n = len({point.n for point in table.cells.values()}) > 1
    for row in table.rows:
        cells = [_cell(table, row, column, with_n) for column in table.columns]
        lines.append(f"<tr><th scope=row>{escape(row)}</th>{''.join(cells)}</tr>")
    shown = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
    bold = " Bold: the best mean at its density." if table.best else ""
    small = " Small: 95 % t interval." if any(point.low is not None for point in table.cells.values()) else ""
    return f"<p class=note>{escape(table.caption)}{small}{bold}</p><div class=wide>{shown}</div>"


def _cell(table: Grid, row: str, column: str, with_n: bool) -> str:
    point = table.cells.get((row, column))
    if point is None:
        return "<td></td>"
    interval = ""
    if point.low is not None and point.high is not None:
        interval = f"<small>{100 * point.low:.2f} to {100 * point.high:.2f}</small>"
    best = " class=best" if (row, column) in table.best else ""
    return f"<td{best}>{escape(cell(point, with_n))}{interval}</td>"


def _numbers(rows: Sequence[Mapping[str, Any]]) -> str:
    names = ("method", "density", "n", "mean", "sd", "low", "high", "epochs", "multiply_adds", "seconds")
    head = "".join(f"<th scope=col>{name.replace('_', ' ')}</th>" for name in names)
    lines = ["".join(f"<td>{escape(_written(name, row[name]))}</td>" for name in names) for row in rows]
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f"<div class=wide><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"


def _written(name: str, value: Any) -> str:
    if value is None:
        return "–"
    if name in ("mean", "sd", "low", "high"):
        return f"{100 * value:.2f} %"
    return number(value) if isinstance(value, float) else str(value)


def _unfinished(runs: Sequence[Run]) -> str:
    """Every run that is in no mean, with the reason."""
    shown = places(runs)
    lines = [
        f"<tr><td>{run.state}</td><td class=path>{escape(shown[run.path])}</td>"
        f"<td class=text>{escape(run.reason)}</td></tr>"
        for run in runs
        if not run.complete
    ]
    if not lines:
        return ""
    head = "<tr><th scope=col>state</th><th scope=col>run</th><th scope=col>why</th></tr>"
    table = f"<div class=wide><table><thead>{head}</thead><tbody>{''.join(lines)}</tbody></table></div>"
    return f"<section id=unfinished><h2>Left out</h2><p>These runs are in no number above.</p>{table}</section>"


def _footer() -> str:
    return (
        "<footer>Only complete runs are averaged. ± is the sample standard deviation over seeds; intervals are "
        "Student's t at 95 %. Density is the fraction of prunable weights kept. Runs that differ in density and seed "
        "alone are one method; a density that a seed reached twice counts once.</footer>"
    )
