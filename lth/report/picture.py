"""Accuracy against density: mean and spread over seeds, one line a group."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from lth.results import density_axis


def draw(rows: Sequence[Mapping[str, Any]], path: Path, ylabel: str = "test accuracy") -> Path:
    """Write the picture of summarised rows; the band is one standard deviation over seeds."""
    from matplotlib.figure import Figure  # imported here: it takes a second

    lines = len({row["group"] for row in rows})
    figure = Figure(figsize=(7, 4.2 + 0.2 * lines), layout="constrained")
    axes = figure.add_subplot()
    for (_, label), group in groupby(rows, key=lambda row: (row["group"], row["label"])):
        line = list(group)
        density, mean = [row["density"] for row in line], [row["mean"] for row in line]
        spread = [row["std"] or 0.0 for row in line]
        (drawn,) = axes.plot(density, mean, marker="o", markersize=3, label=f"{label} (n={line[0]['n']})")
        low, high = (
            [m - s for m, s in zip(mean, spread, strict=True)],
            [m + s for m, s in zip(mean, spread, strict=True)],
        )
        axes.fill_between(density, low, high, color=drawn.get_color(), alpha=0.2, linewidth=0)
    axes.set(ylabel=ylabel)
    density_axis(axes, [row["density"] for row in rows])
    figure.legend(loc="outside lower center", fontsize="small")
    figure.savefig(path, dpi=120)
    return path
