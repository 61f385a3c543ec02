"""The pictures: accuracy against density and against cost, and the density of every layer."""

import io
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from statistics import fmean
from typing import Any

from lth.report.results import density_axis
from lth.report.sections import Section
from lth.report.summary import Point, Series

Panel = tuple[Section, Sequence[Series]]
# readable on white and on black, and for colour-blind eyes with their markers (after Okabe and Ito, evened out)
COLOURS = ("#0a84c6", "#e07b00", "#1b9e77", "#cc4778", "#8f6bd1", "#b8860b", "#4d9de0", "#e15554", "#6b8e23", "#8c8c8c")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*", "h", "d")
INK = "#2b2b2c"  # text and axes; a page may replace it in the SVG by its own colour
STYLE = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "lth",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "#808080",
    "legend.frameon": False,
}
COSTS: dict[str, Callable[[Point], float | None]] = {
    "epochs": lambda point: point.cost.epochs,
    "multiply-adds": lambda point: point.cost.multiply_adds,
    "seconds": lambda point: point.cost.seconds,
}
LEAST_ERROR = 1.01  # of the stretched axis: accuracy 1 must lie at a finite height
UPRIGHT = (0, 0.2, 0.4, 0.6, 0.7, 0.8, 0.85, 0.9, 0.92, 0.94, 0.96, 0.97, 0.98, 0.99, 1)  # ticks of that axis
LEVEL = (0, 0.4, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 1)  # the same where numbers stand side by side
MOST_BANDS = 5  # curves; more would hide one another
MOST_WRITTEN = 12  # layers of a heat map whose cells carry their numbers


def styled(draw: Callable[..., Any]) -> Callable[..., Any]:
    """A function that draws in the report's style, and leaves matplotlib's settings as they were."""

    @wraps(draw)
    def drawn(*args: Any, **options: Any) -> Any:
        from matplotlib import rc_context  # imported here: it takes a second

        with rc_context(STYLE):
            return draw(*args, **options)

    return drawn


@styled
def curves(panels: Sequence[Panel], ylabel: str = "test accuracy", titles: bool = True) -> Any:
    """Figure: mean over seeds against density, 95 % intervals as bands or bars; dense nets alone are dashed lines."""
    figure, rows = make_figure([(5.8, max(3.6, 1.2 + 0.17 * len(series))) for _, series in panels], 1)
    for (section, series), (axes,) in zip(panels, rows, strict=True):
        for one, style in zip(series, _styles(len(series)), strict=True):
            _curve(axes, one, style, banded=len(series) <= MOST_BANDS)
        axes.set(title=section.title if titles else None)
        _accuracy_axis(axes, series, ylabel)
        _density_axis(axes, series)
        _legend(axes)
    return figure


@styled
def cost(panels: Sequence[Panel], ylabel: str = "test accuracy", titles: bool = True) -> Any:
    """Figure: accuracy against what training cost, all levels before it included; costs that differ, and seconds."""
    points = [point for _, series in panels for one in series for point in one.points]
    shown = {name: price for name, price in COSTS.items() if _differ([price(p) for p in points]) or name == "seconds"}
    figure, rows = make_figure(
        [(3.2 * len(shown), max(3.2, 1.2 + 0.17 * len(series))) for _, series in panels], len(shown)
    )
    for (section, series), row in zip(panels, rows, strict=True):
        for axes, (name, price) in zip(row, shown.items(), strict=True):
            for one, style in zip(series, _styles(len(series)), strict=True):
                line = [(price(p), p.mean) for p in one.points if price(p)]
                if line:
                    axes.plot(*zip(*line, strict=True), label=one.label, **{**style, "lw": 0.6, "alpha": 0.9})
            axes.set(xlabel=f"{name} until then")
            _accuracy_axis(axes, series, ylabel if axes is row[0] else "")
            _cost_axis(axes, [value for one in series for p in one.points if (value := price(p))])
        if titles:
            row[0].set_title(section.title, loc="left")
        _legend(row[-1])
    return figure


@styled
def layers(panels: Sequence[Panel], titles: bool = True) -> Any | None:
    """Figure: density of every layer in each method's last level, mean over seeds; None without any layers' table."""
    tables = [(section, names, lines) for section, series in panels for names, lines in _layer_tables(series)]
    if not tables:
        return None
    sizes = [(max(5.0, 2 + 0.3 * len(names)), 1.6 + 0.25 * len(lines)) for _, names, lines in tables]
    figure, rows = make_figure(sizes, 1)
    for (section, names, lines), (axes,) in zip(tables, rows, strict=True):
        _heat(figure, axes, names, lines)
        axes.set(title=f"{section.title}: density of each layer, last level" if titles else None)
    return figure


@styled
def save(figure: Any, *paths: Path) -> None:
    """Write a figure, in the format of each name's ending; the same figure makes the same bytes."""
    for path in paths:
        figure.savefig(path, dpi=150, **({"metadata": {"Date": None}} if path.suffix == ".svg" else {}))


@styled
def svg_text(figure: Any) -> str:
    """A figure as SVG with a see-through ground, for a page."""
    text = io.StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    return text.getvalue()


def make_figure(sizes: Sequence[tuple[float, float]], columns: int) -> tuple[Any, Any]:
    """One row of axes a section; sizes: width and height of each in inches, legend apart."""
    from matplotlib.figure import Figure

    width, heights = max(width for width, _ in sizes), [height for _, height in sizes]
    figure = Figure(figsize=(width + 2.6, sum(heights)), layout="constrained")
    ratios = {"height_ratios": heights}
    return figure, figure.subplots(len(sizes), columns, squeeze=False, sharey="row", gridspec_kw=ratios)


def _styles(count: int) -> list[dict[str, Any]]:
    """Colours first, then the same ones with other markers and dashes."""
    dashes = ("-", "--", ":")
    return [
        {
            "color": COLOURS[i % len(COLOURS)],
            "marker": MARKERS[i % len(MARKERS)],
            "linestyle": dashes[i // len(COLOURS) % len(dashes)],
            "markersize": 4,
        }
        for i in range(count)
    ]


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


def _accuracy_axis(axes: Any, series: Sequence[Series], ylabel: str) -> None:
    """Limits that means and most of the bands fit in. Where some nets are good and others fail, the error is
    logarithmic, so that good ones can still be told apart."""
    means = [point.mean for one in series for point in one.points]
    low, high = min(means), max(means)
    margin = max(0.06 * (high - low), 0.004)
    lows = [max(p.low, p.mean - 0.5 * (high - low)) for one in series for p in one.points if p.low is not None]
    bottom, top = max(0.0, min([low, *lows]) - margin), min(1.0, high + margin)
    if high > 0.8 and high - low > 0.3:
        stretch_errors(axes, "y", top)
        ylabel = ylabel and f"{ylabel} (error on a log axis)"
    axes.set(ylim=(bottom, top), ylabel=ylabel)


def stretch_errors(axes: Any, which: str, top: float) -> None:
    """Make the `x` or `y` axis, of accuracies up to `top`, logarithmic in the error."""
    ticks = [t for t in (UPRIGHT if which == "y" else LEVEL) if t <= top]
    getattr(axes, f"set_{which}scale")("function", functions=(_stretched, _unstretched))
    getattr(axes, f"set_{which}ticks")(ticks, [f"{tick:g}" for tick in ticks])


def _stretched(accuracy: Any) -> Any:
    import numpy as np

    return -np.log10(np.maximum(LEAST_ERROR - np.asarray(accuracy), 1e-4))


def _unstretched(height: Any) -> Any:
    import numpy as np

    return LEAST_ERROR - 10.0 ** -np.asarray(height)


def _density_axis(axes: Any, series: Sequence[Series]) -> None:
    """As wide as the curves are; lines for dense nets have no place of their own on it."""
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
    """Right of the axes, where it hides nothing."""
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.02), fontsize="small", labelspacing=0.35)


def _layer_tables(series: Sequence[Series]) -> list[tuple[tuple[str, ...], dict[str, list[float]]]]:
    """(layers, method and density -> densities) for each set of layers that networks of a section have."""
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
    axes.tick_params(axis="x", labelrotation=90 if len(names) > MOST_WRITTEN else 0, length=0)
    axes.set_yticks([i + 0.5 for i in range(len(lines))], list(lines))
    axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()
    if len(names) <= MOST_WRITTEN:
        for y, line in enumerate(lines.values()):
            for x, value in enumerate(line):
                colour = "black" if norm(max(value, floor)) > 0.6 else "white"
                axes.text(x + 0.5, y + 0.5, f"{value:.2g}", ha="center", va="center", fontsize=8, color=colour)
    figure.colorbar(mesh, ax=axes, label="density", aspect=30, pad=0.02)


def _short(layer: str) -> str:
    return layer.removesuffix(".weight")
