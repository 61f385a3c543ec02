"""TensorBoard: curves against the optimizer step over all levels, results of levels against the level's index."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities.rank_zero import rank_zero_only


class ExperimentTensorBoard(TensorBoardLogger):
    """Writes one event folder per experiment, `<folder>/tensorboard`.

    folder: the run's folder

    Raises ImportError where tensorboard is not installed (pip install 'lth[tensorboard]').
    """

    def __init__(self, folder: str):
        self.check_installed()
        super().__init__(save_dir=folder, name="", version="tensorboard")

    @staticmethod
    def check_installed() -> None:
        """Raise ImportError where tensorboard is not installed."""
        if not find_spec("tensorboard") and not find_spec("tensorboardX"):  # Lightning writes with either
            raise ImportError("logger=tensorboard needs tensorboard: pip install 'lth[tensorboard]'")

    @rank_zero_only
    def log_hyperparams(self, params: Any, *_: Any, **__: Any) -> None:
        """Does nothing, because config.yaml holds the configuration."""

    @rank_zero_only
    def log_level(self, row: Mapping[str, Any], layers: Sequence[Mapping[str, Any]], ticket: Path) -> None:
        """Log the level's results and the density of each layer, with the level's index as the step.

        row: the level's row of results.csv
        layers: its rows of layers.csv
        ticket: its ticket file, which TensorBoard does not store
        """
        numbers = {f"level/{k}": v for k, v in row.items() if isinstance(v, int | float)}
        densities = {f"layer_density/{layer['layer']}": layer["density"] for layer in layers}
        self.log_metrics({**numbers, **densities}, step=row["level"])

    @rank_zero_only
    def close(self) -> None:
        """Write buffered events to disk."""
        self.finalize("success")
