"""The level loop for a script: a ladder of densities around a LightningModule and a Trainer of the user's own."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from lth.callbacks import KeepTicket, Prune, Rewind, SameOnRanks
from lth.experiment._environment import environment, quiet_lightning
from lth.experiment._finished_levels import shrink_on_this_rank
from lth.experiment._script_callbacks import Deferred, LevelState, Outcome, checkpoint
from lth.experiment._script_checks import check_parts, check_settings
from lth.plan import Budget, Level
from lth.pruning.allocation import Allocation, check_density, global_
from lth.pruning.criteria import magnitude
from lth.pruning.criterion import Criterion
from lth.report.results import write_tables
from lth.storage.folder import SEED, RunFolder
from lth.training.signals import die_with_parent


class ScriptLevel:
    """One level of a script's experiment: gives the Trainer's callbacks and records the level's numbers.

    level: index, density and folder of the level
    header: provenance, stored in the ticket
    seed: the script's seed
    """

    def __init__(self, level: Level, header: Mapping[str, Any], seed: int):
        self.level, self.seed = level, seed
        self.outcome = Outcome(level)
        self.ticket = KeepTicket(level, header)

    def __repr__(self) -> str:
        return f"ScriptLevel({self.level.index}, density {self.level.density:g}, {self.level.folder})"

    @property
    def index(self) -> int:
        """Position in the ladder, from 0."""
        return self.level.index

    @property
    def density(self) -> float:
        """Fraction of the prunable weights that is kept at the level's end, 0..1."""
        return self.level.density

    @property
    def folder(self) -> Path:
        """The level's folder."""
        return self.level.folder

    @property
    def checkpoint(self) -> Path | None:
        """The checkpoint of an interrupted training of this level; None where there is none.

        `trainer.fit(model, data)` resumes from it automatically. Pass it as `ckpt_path` only if Lightning needs further
        options to read it.
        """
        return checkpoint(self.level)

    def callbacks(
        self,
        criterion: Criterion | None = magnitude,
        allocation: Allocation = global_,
        rewind: int | str | None = 0,
        rounds: int = 1,
        within: Sequence[Callable[[Level], Callback]] = (),
        seconds: float = 10.0,
    ) -> list[Callback]:
        """The callbacks that make a Trainer train this level. The Trainer also needs `lth.callbacks.KeepPruned`.

        criterion: scores the weights at the level's start; None = nothing is pruned there
        allocation: how many weights each layer keeps
        rewind: point in level 0 that later levels rewind to: 0, "500it", "2ep", "5%"; None = they do not rewind
        rounds: number of times that weights are scored and pruned on the way to the density (SynFlow: 100)
        within: level -> callback that changes masks while the level trains, such as `partial(Regrow, ...)`
        seconds: shortest time between two checkpoints, which are written between epochs

        Raises ValueError for a criterion or an allocation that is no function, and for parts of `within` that cannot
        be called with a level.
        """
        check_parts(criterion, allocation, within)
        builds: list[Callable[[Level], Callback]] = []
        if criterion is not None:
            builds.append(partial(Prune, criterion=criterion, allocation=allocation, rounds=rounds, seed=self.seed))
        if rewind is not None:
            builds.append(partial(Rewind, point=rewind))
        deferred = [Deferred(build, self.level, number) for number, build in enumerate([*builds, *within])]
        state = LevelState(self.level, self.seed, seconds)
        return [state, *deferred, self.ticket, SameOnRanks(), self.outcome]

    def record(self, **numbers: float) -> None:
        """Add numbers to the level's row of results.csv, such as `test_accuracy=0.9`, which `lth report` reads.

        Metrics logged in training, and in `trainer.test` or `trainer.validate` after it, are recorded automatically.
        """
        self.outcome.numbers |= {name: float(number) for name, number in numbers.items()}

    def row(self) -> dict[str, Any]:
        """The level's row of results.csv."""
        numbers = self.outcome.numbers
        return {
            "level": self.level.index,
            "name": self.level.name,
            "stage": self.level.stage,
            **numbers,
            "seconds": self.outcome.seconds,
        }


def levels(
    densities: Sequence[float],
    folder: str | Path,
    seed: int = 0,
    method: str = "script",
    model: str = "own",
    dataset: str = "own",
    settings: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    keep: str = "all",
) -> Iterator[ScriptLevel]:
    """Iterate over the unfinished levels of a ladder of densities, for a script that trains each of them.

    densities: densities of the levels, falling, such as those of `lth.geometric`. Iterative pruning begins with 1, a
        dense level; with a first density below 1, level 0 is pruned before any training
    folder: the run's folder; only one process at a time may use it
    seed: seed of batch order and dropout (by level and epoch) and of pruning
    method, model, dataset: names for tables
    settings: further values that identify the experiment (learning rate, epochs); JSON values
    overwrite: True removes what the folder holds and starts over
    keep: `all` keeps the weights of finished levels; `results` removes those that no later level needs

    The body of the loop makes a Trainer with `KeepPruned` and `level.callbacks(...)`, and calls `fit`. After the body
    the level is marked finished and its row is written. Running the same script again resumes where it stopped.

    Raises ValueError for rising densities, settings that are not JSON, an unknown `keep`, and a folder that another
    process uses or that holds other settings. Raises RuntimeError if the body did not train the level to its end.
    """
    quiet_lightning()
    run = RunFolder(folder)
    plan, config = _plan(densities, run.path), _config(densities, seed, method, model, dataset, settings, keep)
    with ExitStack() as stack:
        if rank_zero_only.rank:
            die_with_parent()
        else:
            stack.enter_context(run.locked())
            run.claim(config, {**environment(), "command": _command()}, overwrite, {**config, "seed": SEED}, len(plan))
        done = sum(run.finished(level.folder) is not None for level in plan)
        if done and not rank_zero_only.rank:
            print(f"{done} of {len(plan)} levels of {run.path} are finished already")
            shrink_on_this_rank(plan, keep, own=False)
        for level in plan:
            if run.finished(level.folder) is None:
                script = ScriptLevel(level, _header(config, plan, level), seed)
                yield script
                _finish(run, script, plan, keep)


def _command() -> list[str]:
    """The words that started this program: `python`, then a script or `-m` and a module, then its arguments."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    program = ["-m", spec.name.removesuffix(".__main__")] if spec else sys.argv[:1]
    return ["python", *program, *sys.argv[1:]]


def _finish(run: RunFolder, script: ScriptLevel, plan: Sequence[Level], keep: str) -> None:
    outcome, level = script.outcome, script.level
    if not outcome.finished:
        raise RuntimeError(
            f"level {level.index} was not trained to its end: call trainer.fit with level.callbacks(...) in the loop"
        )
    if rank_zero_only.rank:
        return
    row = script.row()
    script.ticket.complete(outcome.masks, {k: row[k] for k in ("test_accuracy", "val_accuracy") if k in row})
    run.finish(level.folder, {"row": row, "layers": outcome.layers, "events": outcome.events, "topology": []})
    finished = [run.finished(each.folder) for each in plan]
    write_tables(run.path, [each for each in finished if each is not None])
    shrink_on_this_rank(plan, keep, level.index, own=False)
    shown = [f"{k} {v:.4f}" for k, v in outcome.numbers.items() if k.startswith(("val", "test"))]
    print("  ".join([f"level {level.index} ({level.index + 1}/{len(plan)})  density {row['density']:.4f}", *shown]))


def _plan(densities: Sequence[float], folder: Path) -> list[Level]:
    if not densities:
        raise ValueError("lth.levels needs at least one density")
    if any(later > before for before, later in pairwise(densities)):
        raise ValueError(f"densities {list(densities)} rise; a level prunes what the level before has left")
    if densities[0] < 1 < len(densities) and not rank_zero_only.rank:
        print(f"level 0 is pruned to {densities[0]:g} before any training; iterative pruning begins with density 1")
    plan = []
    for index, density in enumerate(densities):
        name, where = Level.place(folder, index, check_density(density))
        source = index - 1 if index else None
        plan.append(Level(index, name, density, "train", where, 0, 0, Budget(0, 0), source=source))
    return plan


def _config(
    densities: Sequence[float],
    seed: int,
    method: str,
    model: str,
    dataset: str,
    settings: Mapping[str, Any] | None,
    keep: str,
) -> dict[str, Any]:
    check_settings({"method": method, "model": model, "dataset": dataset}, seed, settings or {}, keep)
    return {
        "choices": {"method": method, "model": model, "dataset": dataset},
        "seed": seed,
        "sparsity": {"densities": [float(density) for density in densities]},
        "settings": dict(settings or {}),
    }


def _header(config: Mapping[str, Any], plan: Sequence[Level], level: Level) -> dict[str, Any]:
    return {
        **config["choices"],
        "seeds": {"seed": config["seed"]},
        "level": level.index,
        "name": level.name,
        "target_density": level.density,
        "parent": plan[level.source].folder.name if level.source is not None else None,
    }
