"""Writes `metrics.csv`, one row per epoch, without missing or double rows after a crash."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from lth.storage.atomic import write_text


class CurvesCSV(Logger):
    """Appends rows to a CSV file.

    path: the file; a column that first appears in a later row is added to the earlier rows, empty
    """

    def __init__(self, path: str | Path):
        super().__init__()
        self.path = Path(path)
        self._columns: list[str] | None = None  # of the file; in memory, so that appending reads nothing

    name = "csv"
    version = 0

    def log_hyperparams(self, params: Any, *_: Any, **__: Any) -> None:
        """Does nothing, because config.yaml holds the configuration."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        if self._columns is None:
            rows = self._rows()
            self._columns = list(rows[0]) if rows else []
        if set(metrics) <= set(self._columns):
            with self.path.open("a", newline="") as file:
                csv.DictWriter(file, self._columns).writerow(metrics)
        else:
            self._write([*self._rows(), dict(metrics)])

    @rank_zero_only
    def truncate(self, step: int) -> None:
        """Remove the rows after optimizer step `step`. A resumed run trains those steps again and logs them again."""
        rows = self._rows()
        kept = [row for row in rows if int(row["step"]) <= step]
        if len(kept) < len(rows):
            self._write(kept)

    def _rows(self) -> list[dict[str, Any]]:
        if not self.path.is_file():
            return []
        with self.path.open(newline="") as file:
            return [row for row in csv.DictReader(file) if (row.get("step") or "").isdigit()]

    def _write(self, rows: list[dict[str, Any]]) -> None:
        self._columns = columns = list(dict.fromkeys(column for row in rows for column in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns)
        writer.writeheader()
        writer.writerows(rows)
        write_text(self.path, text.getvalue())
