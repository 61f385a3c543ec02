"""Weights & Biases: one W&B run per experiment, also with several levels and after interruptions."""

import os
from collections.abc import Mapping, Sequence
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from uuid import uuid4

from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from lth.storage.atomic import write_text

_ID = "wandb/run_id"  # file in the run's folder; `overwrite=true` removes it with the rest
_LONGEST_PART = 40  # characters of a folder's name in the name of a run
_DENSITY = "level/density"


class ExperimentWandb(WandbLogger):
    """Logs curves against the optimizer step, results of levels against density, layer tables, pictures and tickets.

    folder: the run's folder, which keeps the W&B id, so that a resumed experiment continues the same W&B run. The id
        is drawn when a run begins, so it differs between machines and changes after `overwrite=true`
    project: W&B project
    mode: `online`, `offline`, or `auto`, which is online where an API key is configured. Offline records lie in
        `<folder>/wandb`; `wandb sync` sends them later
    choices: names of the chosen method, model and dataset, which become tags
    tags: further tags
    group: W&B group; None = WANDB_RUN_GROUP, else the sweep of which the run is a job, else the folder above the run
    options: other arguments of Lightning's WandbLogger, such as `job_type`

    In a job of `wandb agent`, project and id are the agent's. Raises ValueError for another mode, and ImportError where
    wandb is not installed (pip install 'lth[wandb]').
    """

    def __init__(
        self,
        folder: str,
        project: str = "lth",
        mode: str = "auto",
        choices: Mapping[str, str] | None = None,
        tags: Sequence[str] = (),
        group: str | None = None,
        **options: Any,
    ):
        if mode not in ("auto", "online", "offline"):
            raise ValueError(f"logger.wandb.mode {mode!r} is not one of 'auto', 'online', 'offline'")
        self.check_installed()
        path, chosen = Path(folder), dict(choices or {})
        self._of_agent = "WANDB_SWEEP_ID" in os.environ  # W&B's sweep sets project and id, and refuses others
        super().__init__(
            project=project,
            name=_name(path, chosen),
            group=group or os.environ.get("WANDB_RUN_GROUP") or os.environ.get("LTH_SWEEP") or str(path.parent),
            tags=list(dict.fromkeys([*chosen.values(), *tags])),
            save_dir=folder,
            id=_stored_id(path) if not (self._of_agent or rank_zero_only.rank) else None,
            resume="allow",
            offline=mode == "offline" or (mode == "auto" and not _has_key()),
            settings={"silent": True, "console": "off"},
            **options,
        )
        self._wandb_init.pop("anonymous", None)  # W&B warns of it, and Lightning always gives it
        if self._of_agent:
            self._wandb_init["project"] = None

    @staticmethod
    def check_installed() -> None:
        """Raise ImportError where wandb is not installed."""
        try:
            version("wandb")  # a folder called wandb, which W&B leaves, can be imported too
        except PackageNotFoundError:
            raise ImportError("logger=wandb needs Weights & Biases: pip install 'lth[wandb]'") from None

    @rank_zero_only
    def log_hyperparams(self, params: Any, *_: Any, **__: Any) -> None:
        """Store the resolved configuration, and make density the x axis of the results of levels.

        The keys that a sweep of W&B sets keep the sweep's values.
        """
        run = self.experiment
        locked = set(run.config.keys()) if self._of_agent else set()
        run.config.update({k: v for k, v in dict(params).items() if k not in locked}, allow_val_change=True)
        run.define_metric(_DENSITY)
        for name in ("level/*", "layer_density/*"):
            run.define_metric(name, step_metric=_DENSITY)

    @rank_zero_only
    def log_level(self, outcomes: Sequence[Mapping[str, Any]], ticket: Path) -> None:
        """Log the last level's results, layer densities, layer table and ticket file, and the best level so far.

        outcomes: one per level so far: `row` of results.csv, and `layers`, its rows of layers.csv
        ticket: the level's ticket file

        Results and density are sent in one call: W&B drops a point whose x value comes in another call.
        """
        import wandb

        row, layers = outcomes[-1]["row"], outcomes[-1]["layers"]
        table = wandb.Table(columns=list(layers[0]), data=[list(layer.values()) for layer in layers])
        numbers = {f"level/{k}": v for k, v in row.items() if isinstance(v, int | float)}
        densities = {f"layer_density/{layer['layer']}": layer["density"] for layer in layers}
        chart = {"layer_densities": _chart(outcomes), f"layers/level_{row['level']:02d}": table}
        self.experiment.log({**numbers, **densities, **chart})
        self.experiment.summary.update(_summary(outcomes))
        artifact = wandb.Artifact(f"ticket-{self.version}", type="ticket", metadata={"density": row["density"]})
        artifact.add_file(str(ticket))
        self.experiment.log_artifact(artifact, aliases=["latest", f"level_{row['level']:02d}"])

    @rank_zero_only
    def log_run(self, outcomes: Sequence[Mapping[str, Any]], pictures: Sequence[Path]) -> None:
        """Log the pictures that a finished run has drawn.

        outcomes: one per level, as in `log_level`
        pictures: paths of PNG files
        """
        import wandb

        self.experiment.log({f"picture/{path.stem}": wandb.Image(str(path)) for path in pictures})

    @rank_zero_only
    def close(self) -> None:
        """Finish the W&B run, so that a second experiment of this process starts a new one."""
        if self._experiment is not None:
            self._experiment.finish()


def _name(folder: Path, choices: Mapping[str, str]) -> str:
    """The run's folder without dataset and model, which are tags, and with long parts cut."""
    left_out = ("/", "runs", choices.get("dataset"), choices.get("model"))
    return "/".join([part[:_LONGEST_PART] for part in folder.parts[-5:] if part not in left_out][-3:])


def _stored_id(folder: Path) -> str:
    """The W&B id of the run in `folder`; drawn and stored if there is none.

    Earlier versions used a hash of the folder; a run that began with such an id keeps it.
    """
    file, before = folder / _ID, sha256(str(folder).encode()).hexdigest()[:16]
    if not file.is_file():
        begun = any(folder.glob(f"wandb/*-{before}"))
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, before if begun else uuid4().hex[:16])
    return file.read_text()


def _summary(outcomes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Results of the last level and of the one with the best validation accuracy (the sparsest, if several tie)."""
    rows = [outcome["row"] for outcome in outcomes]
    chosen = {"final": rows[-1]}
    if all("val_accuracy" in row for row in rows):
        chosen["best"] = max(rows, key=lambda row: (row["val_accuracy"], -row["density"]))
    keys = ("level", "density", "val_accuracy", "test_accuracy")
    return {f"{name}/{key}": row[key] for name, row in chosen.items() for key in keys if key in row}


def _chart(outcomes: Sequence[Mapping[str, Any]]) -> Any:
    """One line per layer: its density against the network's, over all levels."""
    import wandb

    layers = [layer["layer"] for layer in outcomes[-1]["layers"]]
    lines = [[outcome["layers"][index]["density"] for outcome in outcomes] for index in range(len(layers))]
    densities = [outcome["row"]["density"] for outcome in outcomes]
    return wandb.plot.line_series(densities, lines, layers, title="density of each layer", xname="density")


def _has_key() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    netrc = Path(os.environ.get("NETRC", Path.home() / ".netrc"))
    return netrc.is_file() and "wandb.ai" in netrc.read_text()
