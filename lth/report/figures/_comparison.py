"""Pictures of many runs: accuracy against density and against cost, and the density of every layer."""

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

from lth.report._sections import Section
from lth.report._series import Point, Series
from lth.report.figures._style import density_axis, error_axis, line_style, styled

Panel = tuple[Section, Sequence[Series]]
_COSTS: dict[str, Callable[[Point], float | None]] = {
    "epochs": lambda point: point.cost.epochs,
    "multiply-adds": lambda point: point.cost.multiply_adds,
    "seconds": lambda point: point.cost.seconds,
}
_MOST_BANDS = 5  # most curves with bands; more bands would hide one another
_MOST_WRITTEN = 12  # layers of a heat map whose cells carry their numbers


@styled
def curves(panels: Sequence[Panel], ylabel: str = "test accuracy") -> Any:
    """Figure: mean over seeds against density, with 95 % intervals as bands or bars, one row of axes per section.

    panels: sections with their series
    ylabel: name of the measured column

    Series of one dense network are dashed horizontal lines.
    """
    figure, rows = make_figure([(5.8, max(3.6, 1.2 + 0.17 * len(series))) for _, series in panels], 1)
    for (section, series), (axes,) in zip(panels, rows, strict=True):
        for index, one in enumerate(series):
            _curve(axes, one, line_style(index), banded=len(series) <= _MOST_BANDS)
        axes.set(title=section.title)
        _mean_axis(axes, series, ylabel)
        _density_axis(axes, series)
        _legend(axes)
    return figure


@styled
def cost(panels: Sequence[Panel], ylabel: str = "test accuracy") -> Any:
    """Figure: accuracy against the cost of training, all levels before a point included.

    One column of axes for seconds and for each other cost that differs between points; arguments as in `curves`.
    """
    points = [point for _, series in panels for one in series for point in one.points]
    shown = {name: price for name, price in _COSTS.items() if _differ([price(p) for p in points]) or name == "seconds"}
    figure, rows = make_figure(
        [(3.2 * len(shown), max(3.2, 1.2 + 0.17 * len(series))) for _, series in panels], len(shown)
    )
    for (section, series), row in zip(panels, rows, strict=True):
        for axes, (name, price) in zip(row, shown.items(), strict=True):
            for index, one in enumerate(series):
                line = [(price(p), p.mean) for p in one.points if price(p)]
                if line:
                    axes.plot(
                        *zip(*line, strict=True), label=one.label, **{**line_style(index), "lw": 0.6, "alpha": 0.9}
                    )
            axes.set(xlabel=f"cumulative {name}")
            _mean_axis(axes, series, ylabel if axes is row[0] else "")
            _cost_axis(axes, [value for one in series for p in one.points if (value := price(p))])
        row[0].set_title(section.title, loc="left")
        _legend(row[-1])
    return figure


@styled
def layers(panels: Sequence[Panel]) -> Any | None:
    """Figure: density of each layer in each method's last level, mean over seeds; None without such tables."""
    tables = [(section, names, lines) for section, series in panels for names, lines in _layer_tables(series)]
    if not tables:
        return None
    sizes = [(max(5.0, 2 + 0.3 * len(names)), 1.6 + 0.25 * len(lines)) for _, names, lines in tables]
    figure, rows = make_figure(sizes, 1)
    for (section, names, lines), (axes,) in zip(tables, rows, strict=True):
        _heat(figure, axes, names, lines)
        axes.set(title=f"{section.title}: density of each layer, last level")
    return figure


def make_figure(sizes: Sequence[tuple[float, float]], columns: int) -> tuple[Any, Any]:
    """A figure and its axes, one row per section.

    sizes: width and height of each row in inches, without the legend
    columns: number of axes per row
    """
    from matplotlib.figure import Figure

    width, heights = max(width for width, _ in sizes), [height for _, height in sizes]
    figure = Figure(figsize=(width + 2.6, sum(heights)), layout="constrained")
    ratios = {"height_ratios": heights}
    return figure, figure.subplots(len(sizes), columns, squeeze=False, sharey="row", gridspec_kw=ratios)


def _curve(axes: Any, one: Series, style: Mapping[str, Any], banded: bool) -> None:
    density, mean = [p.density for p in one.points], [p.mean for p in one.points]
    if _dense(one):
        axes.axhline(mean[0], color=style["color"], linestyle="--", lw=1, label=_named(one))
        return
    axes.plot(density, mean, lw=1.4, label=_named(one), **style)
    known = [(p.density, p.mean, p.low, p.high) for p in one.points if p.low is not None and p.high is not None]
    if not known:
        return
    at, middle, low, high = (list(column) for column in zip(*known, strict=True))
    if banded and len(known) > 1:
        axes.fill_between(at, low, high, color=style["color"], alpha=0.15, linewidth=0)
        return
    below, above = ([abs(end - m) for end, m in zip(ends, middle, strict=True)] for ends in (low, high))
    axes.errorbar(at, middle, [below, above], color=style["color"], fmt="none", lw=0.8, capsize=2, alpha=0.6)


def _mean_axis(axes: Any, series: Sequence[Series], ylabel: str) -> None:
    """Set limits that hold all means and most of each band.

    If some accuracies are high and others very low, the axis is logarithmic in the error.
    """
    if not all(point.percent for one in series for point in one.points):
        axes.set(ylabel=ylabel)
        return
    means = [point.mean for one in series for point in one.points]
    low, high = min(means), max(means)
    margin = max(0.06 * (high - low), 0.004)
    lows = [max(p.low, p.mean - 0.5 * (high - low)) for one in series for p in one.points if p.low is not None]
    bottom, top = max(0.0, min([low, *lows]) - margin), min(1.0, high + margin)
    if high > 0.8 and high - low > 0.3:
        error_axis(axes, "y", top)
        ylabel = ylabel and f"{ylabel} (error on a log axis)"
    axes.set(ylim=(bottom, top), ylabel=ylabel)


def _density_axis(axes: Any, series: Sequence[Series]) -> None:
    """Limit the axis to the densities of the curves; dense networks are horizontal lines without a density."""
    drawn = [p.density for one in series if not _dense(one) for p in one.points if p.density > 0] or [1.0]
    density_axis(axes, drawn)
    axes.set_xlim(max(drawn) * 1.12, min(drawn) / 1.12)


def _cost_axis(axes: Any, costs: Sequence[float]) -> None:
    axes.grid(alpha=0.25)
    if costs and max(costs) > 8 * min(costs):
        from matplotlib.ticker import NullFormatter

        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())  # over one decade their labels would overlap
    else:
        axes.margins(x=0.1)
        axes.locator_params(axis="x", nbins=5)


def _differ(costs: Sequence[float | None]) -> bool:
    known = [cost for cost in costs if cost]
    return bool(known) and max(known) > 1.001 * min(known)


def _dense(one: Series) -> bool:
    return [point.density for point in one.points] == [1.0]


def _named(one: Series) -> str:
    counts = sorted({point.n for point in one.points})
    return f"{one.label} (n={counts[0]}{f'–{counts[-1]}' if len(counts) > 1 else ''})"


def _legend(axes: Any) -> None:
    """Place the legend to the right of the axes."""
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.02), fontsize="small", labelspacing=0.35)


def _layer_tables(series: Sequence[Series]) -> list[tuple[tuple[str, ...], dict[str, list[float]]]]:
    """For each set of layers in the section: names of the layers, and label of method and density -> densities."""
    tables: dict[tuple[str, ...], dict[str, list[float]]] = {}
    for group in {one.group.label: one.group for one in series}.values():
        last = [(run.rows[-1], run.layers.get(run.rows[-1]["level"], ())) for run in group.runs if run.complete]
        lowest = min((row["density"] for row, _ in last), default=1.0)
        same = [table for row, table in last if table and row["density"] <= lowest * 1.05]
        names = tuple(layer["layer"] for layer in same[0]) if same else ()
        alike = [table for table in same if tuple(layer["layer"] for layer in table) == names]
        if names:
            values = [fmean(table[i]["density"] for table in alike) for i in range(len(names))]
            tables.setdefault(names, {})[f"{group.label}  ({lowest:.3g}, n={len(alike)})"] = values
    return list(tables.items())


def _heat(figure: Any, axes: Any, names: Sequence[str], lines: Mapping[str, Sequence[float]]) -> None:
    from matplotlib.colors import LogNorm

    lowest = min((value for line in lines.values() for value in line if value > 0), default=0.1)
    floor = min(lowest, 0.5)
    norm = LogNorm(floor, 1.0)
    shown = [[max(value, floor) for value in line] for line in lines.values()]
    mesh = axes.pcolormesh(shown, norm=norm, cmap="viridis", edgecolors="white", linewidth=0.5)
    axes.set_xticks([i + 0.5 for i in range(len(names))], [_short(name) for name in names])
    axes.tick_params(axis="x", labelrotation=90 if len(names) > _MOST_WRITTEN else 0, length=0)
    axes.set_yticks([i + 0.5 for i in range(len(lines))], list(lines))
    axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()
    if len(names) <= _MOST_WRITTEN:
        for y, line in enumerate(lines.values()):
            for x, value in enumerate(line):
                colour = "black" if norm(max(value, floor)) > 0.6 else "white"
                axes.text(x + 0.5, y + 0.5, f"{value:.2g}", ha="center", va="center", fontsize=8, color=colour)
    figure.colorbar(mesh, ax=axes, label="density", aspect=30, pad=0.02)


def _short(layer: str) -> str:
    return layer.removesuffix(".weight")
