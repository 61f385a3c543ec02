"""Ranks the epochs of a run as Distiller's performance tracker does: sparsest first, then by validation accuracy."""

from collections.abc import Mapping, Sequence
from typing import Any


def best_epochs(rows: Sequence[Mapping[str, Any]], prunable: int) -> list[dict[str, Any]]:
    """The epochs of metrics.csv, best first.

    Fewest nonzero weights come first, then the highest validation top-1 and top-5, then the latest epoch.

    rows: rows of metrics.csv as text, of any levels
    prunable: number of prunable weights

    Epochs without validation data are left out. Raises ValueError where none is left.
    """
    found = [_numbers(row, prunable) for row in rows if row.get("val_accuracy")]
    if not found:
        raise ValueError("no epoch has a validation accuracy (dataset.val_size=0?); epochs are not ranked by test data")
    return sorted(found, key=lambda row: (row["kept"], -row["val_accuracy"], -row["val_top5"], -row["epoch"]))


def _numbers(row: Mapping[str, Any], prunable: int) -> dict[str, Any]:
    density = float(row["density"])
    return {
        "level": int(row["level"]),
        "epoch": int(row["epoch"]),
        "kept": round(density * prunable),
        "density": density,
        "val_accuracy": float(row["val_accuracy"]),
        "val_top5": float(row.get("val_top5") or 0),
    }
