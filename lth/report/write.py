"""The report on many runs: report.csv, summary.csv, report.md, report.tex, report.html and pictures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lth.report._best import best_series
from lth.report._page import page
from lth.report._sections import Section, sections
from lth.report._series import level_rows, series_of
from lth.report._tables import grids, latex, markdown, notes, summary_rows
from lth.report._verdicts import judge_all, verdict_text
from lth.report.collect import Run, collect
from lth.report.figures import _comparison as comparison
from lth.report.figures._comparison import Panel
from lth.report.figures._leaderboard import ranking, ranking_picture, ranking_table
from lth.report.output import save_picture, write_csv
from lth.storage.atomic import write_text

_MOST_DRAWN = 20  # most series in a picture; more lines cannot be told apart
_MOST_RANKED = 60  # most series in the ranking


def write_report(paths: Sequence[str | Path], out: Path, column: str = "test_accuracy") -> str:
    """Write the report on all runs under `paths` into a folder; returns the text for the terminal.

    paths: folders that hold runs, at any depth
    out: folder of the report, created if it does not exist
    column: column of results.csv

    Raises ValueError if there is no run, or if no complete run has the column.
    """
    runs = collect(paths)
    found = sections(runs)
    panels, without = _panels(found, column)
    out.mkdir(parents=True, exist_ok=True)
    judged = judge_all(runs)
    verdict, left_out = verdict_text(judged), [*without, *_left_out(runs)]
    text = "\n\n".join([*(_in_markdown(panel) for panel in panels), *([verdict] if verdict else []), *left_out])
    write_csv(out / "report.csv", level_rows(found, column))
    write_csv(out / "summary.csv", [row for panel in panels for row in summary_rows(*panel)])
    write_text(out / "report.md", text + "\n")
    write_text(out / "report.tex", "\n".join(latex(table) for panel in panels for table in grids(*panel)))
    _draw(panels, out, column.replace("_", " "))
    write_text(out / "report.html", page(_with_unfinished(found, panels), runs, judged, column))
    return f"{text}\n\n{out / 'report.html'}"


def live_page(paths: Sequence[str | Path], column: str, known: dict[Path, tuple[Any, Run]]) -> str:
    """The HTML of the page on all runs under `paths`, even if none has begun or finished; nothing is written.

    paths, column: as for `write_report`
    known: cache of earlier calls, extended in place
    """
    try:
        runs = collect(paths, known)
    except ValueError:
        return page([], [], [], column)
    found = sections(runs)
    try:
        panels, _ = _panels(found, column)
    except ValueError:  # no run has the column yet
        panels = []
    return page(_with_unfinished(found, panels), runs, judge_all(runs), column)


def _panels(found: Sequence[Section], column: str) -> tuple[list[Panel], list[str]]:
    """The sections with their series, and a line for each section that lacks the column.

    Raises ValueError where all complete runs lack it.
    """
    panels: list[Panel] = []
    without: list[str] = []
    for section in found:
        try:
            series = series_of(section, column)
        except ValueError as error:
            without.append(f"left out: {error}")
            continue
        if series:
            panels.append((section, series))
    if without and not panels:
        raise ValueError(without[0].removeprefix("left out: "))
    return panels, without


def _with_unfinished(found: Sequence[Section], panels: Sequence[Panel]) -> list[Panel]:
    """All sections: those without a finished run, or without the column, have no series but their runs are shown."""
    series = {id(section): of_section for section, of_section in panels}
    return [(section, series.get(id(section), [])) for section in found]


def _in_markdown(panel: Panel) -> str:
    ranked = ranking(*panel)
    best_first = [ranking_table(ranked, panel[1])] if ranked else []
    return "\n\n".join([*best_first, *map(markdown, grids(*panel)), *notes(*panel)])


def _left_out(runs: Sequence[Run]) -> list[str]:
    return [f"{run.state}, left out: {run.typed} ({run.reason})" for run in runs if not run.complete]


def _draw(panels: Sequence[Panel], out: Path, ylabel: str) -> None:
    if not panels:
        return
    drawn = [(section, best_series(series, _MOST_DRAWN)) for section, series in panels]
    ranked = [(section, best_series(series, _MOST_RANKED)) for section, series in panels]
    for figure, names in (
        (_noted(comparison.curves(drawn, ylabel), drawn, panels), ("report.png", "report.svg")),
        (_noted(comparison.cost(drawn, ylabel), drawn, panels), ("cost.png",)),
        (_noted(ranking_picture(ranked, ylabel), ranked, panels), ("ranking.png",)),
        (_noted(comparison.layers(drawn), drawn, panels), ("layers.png",)),
    ):
        if figure is not None:
            save_picture(figure, *(out / name for name in names))


def _noted(figure: Any, drawn: Sequence[Panel], panels: Sequence[Panel]) -> Any:
    """The figure; below it a line says how many series were left out, if any were."""
    shown, every = (sum(len(series) for _, series in some) for some in (drawn, panels))
    if figure is not None and shown < every:
        figure.supxlabel(f"the best {shown} of {every} series; report.html and summary.csv have all", fontsize="small")
    return figure
