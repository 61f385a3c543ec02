"""`python -m lth.report runs/... [--out FOLDER]`: tables, pictures and one page of all runs found."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from lth.report.collect import Run, collect
from lth.report.figures import picture
from lth.report.figures.picture import Panel
from lth.report.figures.ranking import ranking, ranking_picture, ranking_table
from lth.report.page import page, places
from lth.report.results import as_csv
from lth.report.sections import sections
from lth.report.summary import series_of, tidy
from lth.report.tables import grids, latex, markdown, notes, summary_rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, write the report, print the tables and what was left out."""
    parser = argparse.ArgumentParser(prog="python -m lth.report", description=__doc__)
    parser.add_argument("runs", nargs="+", help="folders that hold runs, at any depth")
    parser.add_argument("--out", type=Path, default=Path("."), help="where the report goes (default: here)")
    parser.add_argument(
        "--column", default="test_accuracy", help="which column of results.csv (default: test_accuracy)"
    )
    given = parser.parse_args(arguments)
    try:
        print(report(given.runs, given.out, given.column))
    except ValueError as error:
        sys.exit(f"error: {error}")


def report(paths: Sequence[str | Path], out: Path, column: str = "test_accuracy") -> str:
    """Write the report on all runs under `paths` into the folder `out`; returns what a terminal should show.

    Raises ValueError where there is no run, or no complete run that has the column.
    """
    runs = collect(paths)
    found = sections(runs)
    panels = [(section, series) for section in found for series in [series_of(section, column)] if series]
    out.mkdir(parents=True, exist_ok=True)
    verdict, left_out = judge(runs), _left_out(runs)
    text = "\n\n".join([*(_in_markdown(panel) for panel in panels), *([verdict] if verdict else []), *left_out])
    (out / "report.csv").write_text(as_csv(tidy(found)))
    (out / "summary.csv").write_text(as_csv([row for panel in panels for row in summary_rows(*panel)]))
    (out / "report.md").write_text(text + "\n")
    (out / "report.tex").write_text("\n".join(latex(table) for panel in panels for table in grids(*panel)))
    ylabel = column.replace("_", " ")
    _draw(panels, out, ylabel)
    (out / "report.html").write_text(page(panels, runs, verdict, ylabel))
    return f"{text}\n\n{out / 'report.html'}"


def judge(runs: Sequence[Run]) -> str:
    """The verdict on each model and dataset that has sanity checks, in words; empty where there are none."""
    texts = []
    for section in sections(run for run in runs if run.own_origins):
        from lth.report.sanity_checks import in_words, verdicts  # imported here: torch comes with it

        try:
            said = in_words(verdicts([run for group in section.groups for run in group.runs]))
        except ValueError as error:
            said = f"no verdict: {error}"
        texts.append(f"{section.title}\n\n{said.strip()}")
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
    picture.save(picture.curves(panels, ylabel), out / "report.png", out / "report.svg")
    picture.save(picture.cost(panels, ylabel), out / "cost.png")
    ranked = ranking_picture(panels, ylabel)
    if ranked is not None:
        picture.save(ranked, out / "ranking.png")
    heat = picture.layers(panels)
    if heat is not None:
        picture.save(heat, out / "layers.png")
