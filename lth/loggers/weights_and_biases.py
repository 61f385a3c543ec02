"""Weights & Biases: one W&B run per experiment, also with several levels and after interruptions."""

import os
from collections.abc import Mapping, Sequence
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.utilities.rank_zero import rank_zero_only


class ExperimentWandb(WandbLogger):
    """Logs curves against the optimizer step, results of levels against density, layer tables and tickets.

    folder: the run's folder. The W&B id is a hash of it, so that a resumed experiment continues the same W&B run;
        its parent is the W&B group, which replicates share
    project: W&B project
    mode: `online`, `offline`, or `auto`, which is online where an API key is configured. Offline records lie in
        `<folder>/wandb`; `wandb sync` sends them later
    options: other arguments of Lightning's WandbLogger

    Raises ValueError for another mode, and ImportError where wandb is not installed (pip install 'lth[wandb]').
    """

    def __init__(self, folder: str, project: str = "lth", mode: str = "auto", **options: Any):
        if mode not in ("auto", "online", "offline"):
            raise ValueError(f"logger.wandb.mode {mode!r} is not one of 'auto', 'online', 'offline'")
        self.check_installed()
        path = Path(folder)
        super().__init__(
            project=project,
            name=str(path),
            group=str(path.parent),
            save_dir=folder,
            id=sha256(folder.encode()).hexdigest()[:16],
            resume="allow",
            offline=mode == "offline" or (mode == "auto" and not _has_key()),
            settings={"silent": True, "console": "off"},
            **options,
        )

    @staticmethod
    def check_installed() -> None:
        """Raise ImportError where wandb is not installed."""
        try:
            version("wandb")  # a folder called wandb, which W&B leaves, can be imported too
        except PackageNotFoundError:
            raise ImportError("logger=wandb needs Weights & Biases: pip install 'lth[wandb]'") from None

    @rank_zero_only
    def log_hyperparams(self, params: Any, *_: Any, **__: Any) -> None:
        """Store the resolved configuration, and make density the x axis of the results of levels."""
        self.experiment.config.update(dict(params), allow_val_change=True)
        self.experiment.define_metric("level/density")
        self.experiment.define_metric("level/*", step_metric="level/density")

    @rank_zero_only
    def log_level(self, row: Mapping[str, Any], layers: Sequence[Mapping[str, Any]], ticket: Path) -> None:
        """Log the level's results, its layer table and its ticket file.

        row: the level's row of results.csv
        layers: its rows of layers.csv
        ticket: its ticket file

        Results and density are sent in one call: W&B drops a point whose x value comes in another call.
        """
        import wandb

        table = wandb.Table(columns=list(layers[0]), data=[list(layer.values()) for layer in layers])
        numbers = {f"level/{k}": v for k, v in row.items() if isinstance(v, int | float)}
        self.experiment.log({**numbers, f"layers/level_{row['level']:02d}": table})
        self.experiment.summary.update({"final/density": row["density"], "final/test_accuracy": row["test_accuracy"]})
        artifact = wandb.Artifact(f"ticket-{self.version}", type="ticket", metadata={"density": row["density"]})
        artifact.add_file(str(ticket))
        self.experiment.log_artifact(artifact, aliases=["latest", f"level_{row['level']:02d}"])

    @rank_zero_only
    def close(self) -> None:
        """Finish the W&B run, so that a second experiment of this process starts a new one."""
        if self._experiment is not None:
            self._experiment.finish()


def _has_key() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    netrc = Path(os.environ.get("NETRC", Path.home() / ".netrc"))
    return netrc.is_file() and "wandb.ai" in netrc.read_text()
