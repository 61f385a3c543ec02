"""Pictures of one run: accuracy of its levels, masks over time, lines between levels, sensitivity of tensors."""

from collections.abc import Mapping, Sequence
from typing import Any

from lth.report.figures._style import density_axis, line_style, styled
from lth.report.output import Row
from lth.report.results import rows_of

_MOST_NAMED = 12  # most layers in a legend; more would fill the axes


@styled
def accuracy_curve(rows: Sequence[Row], title: str) -> Any:
    """Figure: test, validation and training accuracy (fractions) of each level against its density.

    rows: rows of results.csv

    The dense network's test accuracy is a horizontal line. The y axis covers test and validation accuracies. Training
    accuracies beyond it are cut off, and the legend says so.
    """
    from matplotlib.figure import Figure  # imported here, as in every function below: it takes a second

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    found = {name: _accuracies(rows, name) for name in ("test", "val", "train")}
    held = [accuracy for name in ("test", "val") for _, accuracy in found[name]]
    low, high = (min(held), max(held)) if held else (0.0, 1.0)
    margin = max(0.08 * (high - low), 0.004)
    bottom, top = max(low - margin, -0.02), min(high + margin, 1.02)
    for index, (name, points) in enumerate(found.items()):
        if points:
            label = "validation" if name == "val" else name
            outside = [accuracy for _, accuracy in points if not bottom <= accuracy <= top]
            ends = dict.fromkeys(f"{end(outside):.3g}" for end in (min, max)) if outside else {}
            label += f" ({' to '.join(ends)}, beyond the axis)" if ends else ""
            axes.plot(*zip(*points, strict=True), label=label, **line_style(index))
    dense = next((accuracy for density, accuracy in found["test"] if density == 1), None)
    if dense is not None and len(found["test"]) > 1:
        axes.axhline(dense, color="#808080", linestyle="--", lw=1, label=f"dense, test: {dense:.4f}", zorder=1)
    axes.set(ylabel="accuracy", title=title, ylim=(bottom, top))
    density_axis(axes, [row["density"] for row in rows])
    axes.legend(fontsize="small")
    return figure


def _accuracies(rows: Sequence[Row], name: str) -> list[tuple[float, float]]:
    column = f"{name}_accuracy"
    return [(row["density"], row[column]) for row in rows if row.get(column) is not None]


@styled
def topology(outcomes: Sequence[Mapping[str, Any]], title: str) -> Any | None:
    """Figure: density of each layer, churn and share of weights ever active, against the optimizer step.

    outcomes: one per level, with its `row` and its `topology`

    Returns None if no level changed its masks.
    """
    from matplotlib.figure import Figure

    rows = rows_of("topology", outcomes)
    if not rows:
        return None
    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    before = _steps_before([outcome["row"] for outcome in outcomes])
    for index, layer in enumerate(dict.fromkeys(row["layer"] for row in rows)):
        points = [(before[row["level"]] + row["step"], row["density"]) for row in rows if row["layer"] == layer]
        style: dict[str, Any] = {**line_style(index), "marker": "", "lw": 0.8}
        style |= {"color": "black", "lw": 2} if layer == "total" else {}
        left.plot(*zip(*points, strict=True), label=layer, **style)
    for index, column in enumerate(("churn", "ever_active")):
        points = [(before[row["level"]] + row["step"], row[column]) for row in rows if row["layer"] == "total"]
        right.plot(*zip(*points, strict=True), label=column.replace("_", " "), **{**line_style(index), "marker": ""})
    left.set(yscale="log", xlabel="optimizer step", ylabel="density of the layer", title=title)
    right.set(xlabel="optimizer step", ylabel="fraction", title="masks over time")
    if len(left.lines) <= _MOST_NAMED:
        left.legend(fontsize=6)
    right.legend()
    return figure


@styled
def connectivity(lines: Sequence[Row], prunings: Sequence[Row]) -> Any:
    """Figure: loss on the line between each pair of levels, and accuracy just before and after each pruning.

    lines: rows of connectivity.csv
    prunings: rows of around_pruning.csv, one per pair of levels
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    data = lines[0]["data"]
    for index, row in enumerate(prunings):
        points = [(point["alpha"], point["loss"]) for point in lines if point["level"] == row["level"]]
        style = {**line_style(index), "marker": ""}
        left.plot(*zip(*points, strict=True), label=f"{row['source']} to {row['level']}", **style)
    left.set(xlabel="alpha: fraction of the later level's weights", ylabel=f"{data} loss", title="between levels")
    left.legend(fontsize=6, ncols=2)
    densities = [row["density_after"] for row in prunings]
    for index, when in enumerate(("before", "after")):
        right.plot(densities, [row[f"accuracy_{when}"] for row in prunings], label=when, **line_style(index))
    density_axis(right, densities)
    right.set(xlabel="density after pruning", ylabel=f"{data} accuracy", title="pruning")
    right.legend()
    return figure


@styled
def sensitivity(rows: Sequence[Row], title: str) -> Any:
    """Figure: top-1 accuracy against the fraction of one tensor that is pruned, one line per tensor.

    rows: parameter, sparsity (fraction removed, 0..1) and top1 (0..1)
    """
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(row["parameter"] for row in rows))
    figure = Figure(figsize=(8.4, max(4.0, 1.2 + 0.17 * len(names))), layout="constrained")
    axes = figure.add_subplot()
    for index, name in enumerate(names):
        points = [(row["sparsity"], row["top1"]) for row in rows if row["parameter"] == name]
        axes.plot(*zip(*points, strict=True), label=name, **{**line_style(index), "lw": 1.2, "markersize": 3})
    axes.set(xlabel="sparsity of the pruned tensor (fraction removed)", ylabel="top-1 accuracy", title=title)
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper", fontsize=7)
    return figure


def _steps_before(rows: Sequence[Row]) -> dict[int, int]:
    """Level -> optimizer steps of all levels before it."""
    return {row["level"]: sum(r["steps"] for r in rows if r["level"] < row["level"]) for row in rows}
