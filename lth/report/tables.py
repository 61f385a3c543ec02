"""Means and spreads over replicates, as rows, Markdown and CSV."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from lth.report.collect import Run


def summarise(runs: Sequence[Run], column: str = "test_accuracy") -> list[dict[str, Any]]:
    """One row a group and level: label, density, n, mean and standard deviation (over seeds) of `column`.

    Incomplete runs are left out: a mean must not mix finished and unfinished replicates.
    """
    values: dict[tuple[str, str, int], list[tuple[float, float]]] = defaultdict(list)
    for run in runs:
        for row in run.rows if run.complete else ():
            values[run.group, run.label, row["level"]].append((row["density"], row[column]))
    return [
        {
            "group": group,
            "label": label,
            "level": level,
            "density": fmean(density for density, _ in pairs),
            "n": len(pairs),
            "mean": fmean(value for _, value in pairs),
            "std": stdev(value for _, value in pairs) if len(pairs) > 1 else None,
        }
        for (group, label, level), pairs in sorted(values.items())
    ]


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """A table with a line a density and a column a group: mean ± sample standard deviation over seeds, in percent."""
    groups = list(dict.fromkeys((row["group"], row["label"]) for row in rows))
    cells = {(row["group"], f"{row['density']:.4f}"): _cell(row) for row in rows}
    densities = sorted({density for _, density in cells}, key=float, reverse=True)
    lines = [
        "| density (accuracies in %) | " + " | ".join(label for _, label in groups) + " |",
        "|" + "---|" * (len(groups) + 1),
    ]
    for density in densities:
        lines.append("| " + " | ".join([density, *(cells.get((g, density), "") for g, _ in groups)]) + " |")
    return "\n".join(lines)


def _cell(row: Mapping[str, Any]) -> str:
    spread = "" if row["std"] is None else f" ± {100 * row['std']:.2f}"
    return f"{100 * row['mean']:.2f}{spread}"
