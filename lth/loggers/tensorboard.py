"""TensorBoard: curves against the true global step, levels as scalars against their index."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities.rank_zero import rank_zero_only


class ExperimentTensorBoard(TensorBoardLogger):
    """One event folder an experiment: `<folder>/tensorboard`. Needs the extra: pip install 'lth[tensorboard]'."""

    def __init__(self, folder: str):
        try:
            super().__init__(save_dir=folder, name="", version="tensorboard")
        except ModuleNotFoundError:
            raise ImportError("logger=tensorboard needs tensorboard: pip install 'lth[tensorboard]'") from None

    @rank_zero_only
    def log_hyperparams(self, params: Any, *_: Any, **__: Any) -> None:
        """Nothing: the configuration stands in config.yaml."""

    @rank_zero_only
    def log_level(self, row: Mapping[str, Any], layers: Sequence[Mapping[str, Any]], ticket: Path) -> None:
        """The level's accuracies and every layer's density, at the level's index."""
        numbers = {f"level/{k}": v for k, v in row.items() if isinstance(v, int | float)}
        densities = {f"layer_density/{layer['layer']}": layer["density"] for layer in layers}
        self.log_metrics({**numbers, **densities}, step=row["level"])

    @rank_zero_only
    def close(self) -> None:
        """Flush what is buffered."""
        self.finalize("success")
