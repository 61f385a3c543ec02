"""Ranking of many methods at the densities they have in common: table and picture."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lth.report._intervals import compare
from lth.report._sections import Section
from lth.report._series import Point, Series
from lth.report._tables import caption, cell, number
from lth.report.figures._comparison import Panel, make_figure
from lth.report.figures._style import error_axis, line_style, styled

MANY = 12  # smallest number of methods for a ranking; the curves of fewer can be read in one picture
_MOST_DENSITIES = 4  # the sparsest common ones are shown
_SEPARATED = (
    " A place is the range of ranks that the seeds leave open at 95 % (t intervals of differences, paired if the seeds "
    "are the same, with Bonferroni correction over the other methods)."
)
_BY_MEAN = " Places are ranks by mean: no two methods differ significantly (three or more seeds are needed for that)."
_WIDE = 0.3  # accuracy of the best minus that of the worst, from which the error is drawn on a log axis


@dataclass(frozen=True)
class Ranking:
    """Methods by their mean accuracy at the sparsest common density, best first; methods without it come last.

    densities: common densities, falling
    points: method -> density -> point
    dense: mean accuracy (0..1) of the unpruned network; None where no run trained it
    """

    section: Section
    densities: tuple[float, ...]
    points: Mapping[str, Mapping[float, Point]]
    dense: float | None


def ranking(section: Section, series: Sequence[Series]) -> Ranking | None:
    """The ranking of a section by the last stage of each method; None where fewer than `MANY` share a density.

    Also None if the column is not a fraction, because it is then not known whether higher is better.

    A density is common when at least half as many methods were measured at it as at the most frequent one.
    """
    last = {one.group.label: one for one in series}.values()
    at = {one.label: {point.density: point for point in one.points} for one in last}
    counted = Counter(d for points in at.values() for d, point in points.items() if d < 1 and point.percent)
    if not counted or max(counted.values()) < MANY:
        return None
    common = sorted(density for density, count in counted.items() if 2 * count >= max(counted.values()))
    densities = tuple(reversed(common[:_MOST_DENSITIES]))
    own = {label: {d: points[d] for d in densities if d in points} for label, points in at.items()}

    def place(label: str) -> tuple[float, ...]:
        return tuple(-own[label][d].mean if d in own[label] else 1.0 for d in reversed(densities))

    points = {label: own[label] for label in sorted(own, key=place) if own[label]}
    unpruned = [points[1.0] for points in at.values() if 1.0 in points]
    alone = [points[1.0] for points in at.values() if list(points) == [1.0]]
    dense = next((point.mean for point in [*alone, *unpruned]), None)
    return Ranking(section, densities, points, dense)


def ranking_table(found: Ranking, series: Sequence[Series]) -> str:
    """The ranking in Markdown. Costs are those of the method's sparsest density, all training before it included.

    A place is a range such as `3–7` if seeds do not separate a method from its neighbours.
    """
    costs = ("epochs", "multiply-adds")
    titles = ["", "method", *map(number, found.densities), *costs]
    ranges, separated = _places([points.get(found.densities[-1]) for points in found.points.values()])
    lines = ["| " + " | ".join(titles) + " |", "|---:|---|" + "---:|" * (len(titles) - 2)]
    for place, (label, points) in zip(ranges, found.points.items(), strict=True):
        sparsest = points[min(points)].cost
        cells = [cell(points[density]) if density in points else "" for density in found.densities]
        spent = [_short(sparsest.epochs), _short(sparsest.multiply_adds)]
        lines.append("| " + " | ".join([place, label, *cells, *spent]) + " |")
    dense = "" if found.dense is None else f" Dense: {100 * found.dense:.2f}."
    order = f"Sorted by accuracy at density {number(found.densities[-1])}.{_SEPARATED if separated else _BY_MEAN}"
    return "\n".join([f"{caption(found.section, series)} {order}{dense}", "", *lines])


@styled
def ranking_picture(panels: Sequence[Panel], ylabel: str = "test accuracy") -> Any | None:
    """Figure: one line per method, one mark per density with a bar of one standard deviation to each side.

    Arguments as in `curves`. None where no section has a ranking.
    """
    found = [one for panel in panels if (one := ranking(*panel)) is not None]
    if not found:
        return None
    figure, rows = make_figure([(5.8, 1.2 + 0.17 * len(one.points)) for one in found], 1)
    for one, (axes,) in zip(found, rows, strict=True):
        places = range(len(one.points))
        for index, density in enumerate(one.densities):
            known = [
                (y, points[density]) for y, points in zip(places, one.points.values(), strict=True) if density in points
            ]
            axes.errorbar(
                [point.mean for _, point in known],
                [y for y, _ in known],
                xerr=[point.sd or 0.0 for _, point in known],
                **{**line_style(index), "linestyle": "none"},
                elinewidth=0.8,
                label=f"density {number(density)}",
            )
        if one.dense is not None:
            axes.axvline(one.dense, color="#808080", linestyle="--", lw=1, label="dense")
        means = [point.mean for points in one.points.values() for point in points.values()]
        axes.set(xlabel=ylabel, ylim=(len(one.points) - 0.5, -0.5), title=one.section.title)
        if max(means) > 0.8 and max(means) - min(means) > _WIDE:
            error_axis(axes, "x", 1.0)
            axes.set(xlabel=f"{ylabel} (error on a log axis)", xlim=(max(0.0, min(means) - 0.05), 1.0))
        axes.set_yticks(list(places), list(one.points))
        axes.grid(alpha=0.25)
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.02), fontsize="small")
    return figure


def _places(points: Sequence[Point | None]) -> tuple[list[str], bool]:
    """The place of each point of a density, and whether any two are separated. Points come by falling mean.

    The range of a method begins at 1 + the number of methods that are significantly better (`compare` says `behind`, at
    the Bonferroni-corrected confidence) and ends at the number of methods minus that of the significantly worse ones.
    """
    known = [point for point in points if point is not None]
    above, below = [0] * len(known), [0] * len(known)
    for i, better in enumerate(known):
        for j in range(i + 1, len(known)):
            outcome = compare(better.seeds, known[j].seeds, len(known) - 1)
            if outcome is not None and outcome[0] == "behind":
                above[j] += 1
                below[i] += 1
    if not any(above):
        return [str(i) for i in range(1, len(points) + 1)], False
    ranges = [(1 + over, len(known) - under) for over, under in zip(above, below, strict=True)]
    found = [str(first) if first == last else f"{first}–{last}" for first, last in ranges]
    return found + [""] * (len(points) - len(known)), True


def _short(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.3g}" if value < 1e4 else f"{value:.1e}".replace("e+0", "e").replace("e+", "e")
