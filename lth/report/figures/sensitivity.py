"""The picture of a sensitivity analysis: top-1 against the share removed, one line a tensor."""

from collections.abc import Mapping, Sequence
from typing import Any

from lth.report.figures.picture import COLOURS, MARKERS, STYLE

DASHES = ("-", "--", ":", "-.")


def lines(rows: Sequence[Mapping[str, Any]], title: str) -> Any:
    """Figure: one line for each `parameter` of the rows, `top1` against `sparsity`."""
    from matplotlib import rc_context  # imported here: it takes a second
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(row["parameter"] for row in rows))
    with rc_context(STYLE):
        figure = Figure(figsize=(8.4, max(4.0, 1.2 + 0.17 * len(names))), layout="constrained")
        axes = figure.add_subplot()
        for index, name in enumerate(names):
            points = [(row["sparsity"], row["top1"]) for row in rows if row["parameter"] == name]
            dash = DASHES[index // len(COLOURS) % len(DASHES)]
            style: dict[str, Any] = {"color": COLOURS[index % len(COLOURS)], "marker": MARKERS[index % len(MARKERS)]}
            axes.plot(*zip(*points, strict=True), label=name, linestyle=dash, lw=1.2, markersize=3, **style)
        axes.set(xlabel="sparsity of the one tensor (fraction removed)", ylabel="top-1 accuracy", title=title)
        axes.grid(alpha=0.3)
        figure.legend(loc="outside right upper", fontsize=7)
    return figure
