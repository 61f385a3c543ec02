"""The report on many runs: report.csv, summary.csv, report.md, report.tex, report.html and pictures."""

from collections.abc import Sequence
from pathlib import Path

from lth.report._page import page, places
from lth.report._sections import Section, sections
from lth.report._series import level_rows, series_of
from lth.report._tables import grids, latex, markdown, notes, summary_rows
from lth.report.collect import Run, collect
from lth.report.figures import _comparison as comparison
from lth.report.figures._comparison import Panel
from lth.report.figures._leaderboard import ranking, ranking_picture, ranking_table
from lth.report.output import save_picture, write_csv
from lth.storage.atomic import write_text


def write_report(paths: Sequence[str | Path], out: Path, column: str = "test_accuracy") -> str:
    """Write the report on all runs under `paths` into a folder; returns the text for the terminal.

        paths: folders that hold runs, at any depth
        out: folder of the report, made where it does not exist
        column: of results.csv

    Raises ValueError where there is no run, or no complete run has the column.
    """
    runs = collect(paths)
    found = sections(runs)
    panels, without = _panels(found, column)
    out.mkdir(parents=True, exist_ok=True)
    verdict, left_out = _verdict(runs), [*without, *_left_out(runs)]
    text = "\n\n".join([*(_in_markdown(panel) for panel in panels), *([verdict] if verdict else []), *left_out])
    write_csv(out / "report.csv", level_rows(found, column))
    write_csv(out / "summary.csv", [row for panel in panels for row in summary_rows(*panel)])
    write_text(out / "report.md", text + "\n")
    write_text(out / "report.tex", "\n".join(latex(table) for panel in panels for table in grids(*panel)))
    ylabel = column.replace("_", " ")
    _draw(panels, out, ylabel)
    write_text(out / "report.html", page(panels, runs, verdict, ylabel))
    return f"{text}\n\n{out / 'report.html'}"


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


def _verdict(runs: Sequence[Run]) -> str:
    """The verdict on each model and dataset that has sanity checks, in words; empty where there are none."""
    texts = []
    for section in sections(run for run in runs if run.is_sanity_check):
        from lth.report.sanity_checks import in_words, verdicts  # imported here: torch comes with it

        try:
            words = in_words(verdicts([run for group in section.groups for run in group.runs]))
        except ValueError as error:
            words = f"no verdict: {error}"
        texts.append(f"{section.title}\n\n{words.strip()}")
    return "\n\n".join(texts)


def _in_markdown(panel: Panel) -> str:
    ranked = ranking(*panel)
    best_first = [ranking_table(ranked, panel[1])] if ranked else []
    return "\n\n".join([*best_first, *map(markdown, grids(*panel)), *notes(*panel)])


def _left_out(runs: Sequence[Run]) -> list[str]:
    shown = places(runs)
    return [f"{run.state}, left out: {shown[run.path]} ({run.reason})" for run in runs if not run.complete]


def _draw(panels: Sequence[Panel], out: Path, ylabel: str) -> None:
    if not panels:
        return
    save_picture(comparison.curves(panels, ylabel), out / "report.png", out / "report.svg")
    save_picture(comparison.cost(panels, ylabel), out / "cost.png")
    ranked, heat = ranking_picture(panels, ylabel), comparison.layers(panels)
    if ranked is not None:
        save_picture(ranked, out / "ranking.png")
    if heat is not None:
        save_picture(heat, out / "layers.png")
