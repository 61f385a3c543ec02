"""Weights & Biases: one run an experiment, whatever the number of levels and interruptions."""

import os
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.utilities.rank_zero import rank_zero_only


class ExperimentWandb(WandbLogger):
    """Curves against the true global step, one point a level against density, layer table and ticket.

    folder: the run's; its id is made from it, so that a resumed experiment goes on with the same run. Replicates (the
    same folder but for the seed) share a group. mode: `online`, `offline`, or `auto` for online where a key is
    configured. Offline records lie in `<folder>/wandb` and are sent later with `wandb sync`.
    """

    def __init__(self, folder: str, project: str = "lth", mode: str = "auto", **options: Any):
        if mode not in ("auto", "online", "offline"):
            raise ValueError(f"logger.wandb.mode {mode!r} is not one of 'auto', 'online', 'offline'")
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

    @rank_zero_only
    def log_hyperparams(self, params: Any, *_: Any, **__: Any) -> None:
        """Store the resolved configuration, and say what is drawn against what."""
        self.experiment.config.update(dict(params), allow_val_change=True)
        self.experiment.define_metric("level/density")
        self.experiment.define_metric("level/*", step_metric="level/density")

    @rank_zero_only
    def log_level(self, row: Mapping[str, Any], layers: Sequence[Mapping[str, Any]], ticket: Path) -> None:
        """One point with density as x axis (x and y in one call, or the point is lost), layer table, ticket file."""
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
        """Finish the run: a second experiment in this process must not log into it."""
        if self._experiment is not None:
            self._experiment.finish()


def _has_key() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    netrc = Path(os.environ.get("NETRC", Path.home() / ".netrc"))
    return netrc.is_file() and "wandb.ai" in netrc.read_text()
