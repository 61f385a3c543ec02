"""The file `metrics.csv`, one row per epoch, without missing or double rows after a crash."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lth.storage.atomic import write_text


class CurvesFile:
    """A CSV file that grows by rows.

    path: the file; a column that first appears in a later row is added to the earlier rows, empty
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._columns: list[str] | None = None  # columns of the file, in memory, so that appending does not read it

    def append(self, row: Mapping[str, Any]) -> None:
        """Add a row."""
        if self._columns is None:
            rows = self._rows()
            self._columns = list(rows[0]) if rows else []
        if set(row) <= set(self._columns):
            with self.path.open("a", newline="") as file:
                csv.DictWriter(file, self._columns).writerow(row)
        else:
            self._write([*self._rows(), dict(row)])

    def restore(self, level: int, rows: Sequence[Mapping[str, Any]], step: int) -> None:
        """Rewrite the file from the rows of finished levels and of the checkpoint, if it differs from them.

        level: index of the level that begins or resumes
        rows: rows of this level and of earlier levels, from files that are checked when they are read
        step: optimizer steps taken so far, over all levels; later rows of the file are removed

        Rows of levels that an earlier version of lth trained exist only in this file; they stay.
        """
        without = set(range(level)) - {int(row["level"]) for row in rows}
        kept = [row for row in self._rows() if int(row["level"]) in without and int(row["step"]) <= step]
        wanted = sorted([*kept, *map(dict, rows)], key=lambda row: int(row["step"]))
        if not wanted:
            self.path.unlink(missing_ok=True)
            self._columns = None
        elif not self.path.is_file() or self.path.read_bytes() != self._text(wanted).encode():
            self._write(wanted)

    def _rows(self) -> list[dict[str, Any]]:
        """The rows of the file; lines that a crash or another program damaged are left out."""
        if not self.path.is_file():
            return []
        with self.path.open(newline="", errors="replace") as file:
            lines = csv.DictReader(line.replace("\0", "") for line in file)
            try:
                return [row for row in lines if all((row.get(key) or "").isdigit() for key in ("level", "step"))]
            except csv.Error:  # a line of another program, longer than any of these
                return []

    def _write(self, rows: list[dict[str, Any]]) -> None:
        write_text(self.path, self._text(rows))
        self._columns = list(dict.fromkeys(column for row in rows for column in row))

    def _text(self, rows: list[dict[str, Any]]) -> str:
        text = io.StringIO()
        writer = csv.DictWriter(text, list(dict.fromkeys(column for row in rows for column in row)))
        writer.writeheader()
        writer.writerows(rows)
        return text.getvalue()
