"""Lightning's logger of `metrics.csv`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from lth.storage.curves_file import CurvesFile


class CurvesCSV(Logger):
    """Appends one row per epoch to a CSV file.

    path: the file, see `lth.storage.curves_file.CurvesFile`
    """

    def __init__(self, path: str | Path):
        super().__init__()
        self._file = CurvesFile(path)

    name = "csv"
    version = 0

    def log_hyperparams(self, params: Any, *_: Any, **__: Any) -> None:
        """Does nothing, because config.yaml holds the configuration."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self._file.append(metrics)

    @rank_zero_only
    def restore(self, level: int, rows: Sequence[Mapping[str, Any]], step: int) -> None:
        """Write the file anew where it differs from `rows`. Arguments as for `CurvesFile.restore`."""
        self._file.restore(level, rows, step)
