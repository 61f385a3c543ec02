"""Series as tables: Markdown and LaTeX with accuracies in percent, rows for CSV with the numbers of results.csv."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lth.report._sections import Section
from lth.report._series import Point, Series

_TIE = 1e-6  # largest difference of means that count as equal; accuracies are stored with seven digits
_FEW_DENSITIES = 8  # with up to this many densities the rows are methods, with more they are densities
_IN_LATEX = str.maketrans({"\\": r"\textbackslash ", "±": r"$\pm$", **{c: f"\\{c}" for c in "_%&#{}$"}})
_WIDEST = 8  # columns of a printed table; further columns make another block below


@dataclass(frozen=True)
class Grid:
    """A table of points, to be written as Markdown, LaTeX or HTML.

    caption: printed above
    corner: heading of the rows' names
    rows, columns: names
    cells: (row, column) -> point
    best: keys of the points with the best mean at their density, among those with the most seeds; empty if it is not
        known whether higher is better
    """

    caption: str
    corner: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: Mapping[tuple[str, str], Point]
    best: frozenset[tuple[str, str]]


def grids(section: Section, series: Sequence[Series]) -> list[Grid]:
    """The tables of a section.

    Most cells of a single table would be empty where some methods have a few densities in common and others long
    ladders or densities that their training chose. Then there is one table of all methods at the few densities, one of
    the methods without ladders at the others, and one of the ladders.
    """
    ladders = [one for one in series if len(one.points) > _FEW_DENSITIES]
    others = [one for one in series if one not in ladders]
    counts = Counter(number(point.density) for one in others for point in one.points)
    few = {density for density, count in counts.items() if count > 1 or len(counts) <= _FEW_DENSITIES}
    if (not ladders and len(few) == len(counts)) or not 0 < len(few) <= _FEW_DENSITIES:
        return [_grid(section, series)]
    parts = (_at(series, lambda density: density in few), _at(others, lambda density: density not in few), ladders)
    return [_grid(section, part) for part in parts if part]


def _at(series: Sequence[Series], wanted: Callable[[str], bool]) -> list[Series]:
    """The series that have points at wanted densities, with these points alone."""
    found = [replace(one, points=tuple(p for p in one.points if wanted(number(p.density)))) for one in series]
    return [one for one in found if one.points]


def _grid(section: Section, series: Sequence[Series]) -> Grid:
    """Methods by densities; densities are the rows where there are more than eight."""
    points = [(one.label, number(point.density), point) for one in series for point in one.points]
    densities = tuple(dict.fromkeys(number(d) for d in sorted({p.density for _, _, p in points}, reverse=True)))
    labels = tuple(one.label for one in series)
    upright = len(densities) <= _FEW_DENSITIES
    cells = {((label, density) if upright else (density, label)): point for label, density, point in points}
    best = set()
    for density in densities:
        points_at = {key: point for key, point in cells.items() if density in key and point.percent}
        most = max((point.n for point in points_at.values()), default=0)
        at = {key: point.mean for key, point in points_at.items() if point.n == most}
        best |= {
            key for key, mean in at.items() if math.isclose(mean, max(at.values()), abs_tol=_TIE) and len(points_at) > 1
        }
    shape = (labels, densities) if upright else (densities, labels)
    return Grid(caption(section, series), "method" if upright else "density", *shape, cells, frozenset(best))


def caption(section: Section, series: Sequence[Series]) -> str:
    """The caption: measured quantity, number of seeds, and settings that all runs share."""
    counts = sorted({point.n for one in series for point in one.points})
    seeds = f"n = {counts[0]}" if len(counts) == 1 else "n in brackets"
    shared = f" Common settings: {', '.join(section.overrides)}." if section.overrides else ""
    spread = "mean ± sample standard deviation over seeds" if counts[-1:] > [1] else "one seed, so no spread is known"
    of = {f"{p.column.replace('_', ' ')}{' in %' * p.percent}" for one in series for p in one.points}
    return f"{section.title}: {''.join(of)}, {spread}, {seeds}.{shared}"


def notes(section: Section, series: Sequence[Series]) -> list[str]:
    """`label: settings` of every group with settings that are not in the caption."""
    groups = {one.group.label: one.group for one in series}
    own = {
        label: [option for option in group.overrides if option not in section.overrides]
        for label, group in groups.items()
    }
    return [f"{label}: {', '.join(options)}" for label, options in own.items() if options]


def number(density: float) -> str:
    """A density with four significant digits."""
    return f"{density:.4g}"


def cell(point: Point, with_n: bool = False) -> str:
    """`97.12 ± 0.34`, in percent where the column is a fraction; with the number of seeds where `with_n`."""
    spread = "" if point.sd is None else f" ± {measured(point, point.sd)}"
    return f"{measured(point, point.mean)}{spread}{f' ({point.n})' if with_n else ''}"


def measured(point: Point, value: float) -> str:
    """A number in the unit of the point's column: percent with two decimals, or four significant digits."""
    return f"{100 * value:.2f}" if point.percent else number(value)


def markdown(table: Grid) -> str:
    """The table, in blocks of at most eight columns, under its caption."""
    blocks = []
    for columns in _blocks(table.columns):
        lines = [f"| {table.corner} | " + " | ".join(map(_pipes, columns)) + " |", "|---|" + "---:|" * len(columns)]
        for row in table.rows:
            texts = _texts(table, row, columns, lambda text: f"**{text}**")
            lines.append(f"| {_pipes(row)} | " + " | ".join(texts) + " |")
        blocks.append("\n".join(lines))
    return "\n\n".join([table.caption, *blocks])


def latex(table: Grid) -> str:
    """The table in LaTeX, with the rules of booktabs, in blocks of at most eight columns."""
    blocks = []
    for columns in _blocks(table.columns):
        lines = [r"\begin{tabular}{l" + "r" * len(columns) + "}", r"\toprule"]
        lines.append(" & ".join(_tex(text) for text in (table.corner, *columns)) + r" \\ \midrule")
        for row in table.rows:
            texts = _texts(table, row, columns, lambda text: rf"\textbf{{{text}}}")
            lines.append(" & ".join([_tex(row), *(text.replace("±", r"$\pm$") for text in texts)]) + r" \\")
        blocks.append("\n".join([*lines, r"\bottomrule", r"\end{tabular}"]))
    body = "\n\n".join(blocks)
    return f"\\begin{{table}}\n\\centering\n\\caption{{{_tex(table.caption)}}}\n{body}\n\\end{{table}}\n"


def summary_rows(section: Section, series: Sequence[Series]) -> list[dict[str, Any]]:
    """One row per series and density: column, n, mean, sd, 95 % interval (no percent), and the mean cost up to it."""
    return [
        {
            "dataset": section.dataset,
            "model": section.model,
            "method": one.label,
            "density": point.density,
            **{name: getattr(point, name) for name in ("column", "n", "mean", "sd", "low", "high")},
            **vars(point.cost),
        }
        for one in series
        for point in one.points
    ]


def _texts(table: Grid, row: str, columns: Sequence[str], bold: Callable[[str], str]) -> list[str]:
    with_n = len({point.n for point in table.cells.values()}) > 1
    found = []
    for column in columns:
        point = table.cells.get((row, column))
        text = "" if point is None else cell(point, with_n)
        found.append(bold(text) if (row, column) in table.best else text)
    return found


def _blocks(columns: Sequence[str]) -> list[Sequence[str]]:
    return [columns[start : start + _WIDEST] for start in range(0, len(columns), _WIDEST)]


def _pipes(text: str) -> str:
    return text.replace("|", "\\|")


def _tex(text: str) -> str:
    return text.translate(_IN_LATEX)
