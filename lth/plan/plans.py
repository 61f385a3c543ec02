"""The plan of an experiment: which levels it has. Pure functions of numbers."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lth.plan.budget import Budget, Budgets
from lth.plan.level import Level, steps_of


def ladder(
    densities: list[float],
    folder: Path,
    budgets: Budgets,
    rewind: str | int | None = None,
    schedule: str = "restart",
    final: Mapping[str, Any] | None = None,
) -> list[Level]:
    """One level per density, each from the end of the one before (IMP and its variants), all of the stage `train`.

    densities: densities of the levels, falling
    folder: the run's folder
    budgets: stage -> budget
    rewind: the point to which weights are rewound, as in `steps_of`; None = they are not rewound
    schedule: the learning rate of a level after a pruning. `restart`: the whole schedule. `continue`: from the rewind
        point on, for the steps after it (arXiv 1903.01611). `hold`: constant at the schedule's last value
        (fine-tuning). `single`: one schedule over all levels
    final: recipe fields of the last level; if any is set, that level is of the stage `final`

    Raises ValueError for another schedule, or one that does not fit the budgets.
    """
    stages = ["train"] * (len(densities) - 1) + ["final" if _given(final) else "train"]
    each = budgets["train"].over(stages.count("train")) + [budgets[stage] for stage in stages if stage == "final"]
    point = steps_of(rewind, each[0])
    each = _joined(each) if schedule == "single" else each
    levels: list[Level] = []
    for index, (density, stage, budget) in enumerate(zip(densities, stages, each, strict=True)):
        before = sum(level.budget.horizon for level in levels)
        begin, length = _phase(schedule, point, budget, before) if index else (0, budget.horizon)
        name, where = Level.place(folder, index, density)
        hold = index > 0 and schedule == "hold"
        source = index - 1 if index else None
        levels.append(Level(index, name, density, stage, where, begin, length, budget, hold, source))
    return levels


def single(
    densities: list[float], folder: Path, budgets: Budgets, final: Mapping[str, Any] | None = None, **_: object
) -> list[Level]:
    """One level at the last density: dense training, or pruning before training.

    densities, folder, budgets: as in `ladder`
    final: recipe fields, as in `ladder`; raises ValueError if any is set
    """
    if _given(final):
        raise ValueError(f"method.final_recipe {_given(final)} is for a ladder; this method has one level: set recipe")
    return ladder(densities[-1:], folder, budgets)


def search(
    densities: list[float], folder: Path, budgets: Budgets, warm: int | str | None = None, finetune: bool = True
) -> list[Level]:
    """Levels of the stage `search`, one per density after the first (or for the only one), then one of `finetune`.

    densities, folder, budgets: as in `ladder`
    warm: steps of a level of the stage `warm` that first trains the weights; None or 0 = search the initial ones
    finetune: whether the subnetwork that was found is trained
    """
    searched = densities[1:] or densities
    stages = [("warm", densities[0])] if warm else []
    stages += [("search", density) for density in searched]
    stages += [("finetune", densities[-1])] if finetune else []
    levels = []
    for index, (stage, density) in enumerate(stages):
        name = f"{stage}_{density:.4g}" if stage == "search" and len(searched) > 1 else stage
        where, budget = folder / f"level_{index:02d}_{name}", budgets[stage]
        steps = steps_of(warm, budget) if stage == "warm" else budget.horizon
        source = index - 1 if index else None
        levels.append(Level(index, name, density, stage, where, 0, steps or 0, budget, source=source))
    return levels


def in_turn(densities: list[float], folder: Path, budgets: Budgets, dense: bool = False) -> list[Level]:
    """One level of the stage `prune`, whose density falls while it trains.

    densities, folder, budgets: as in `ladder`
    dense: whether a level of the stage `dense` comes before it
    """
    stages = [("dense", densities[0])] if dense else []
    levels = []
    for index, (stage, density) in enumerate([*stages, ("prune", densities[-1])]):
        where, budget = folder / f"level_{index:02d}_{stage}", budgets[stage]
        source = index - 1 if index else None
        levels.append(Level(index, stage, density, stage, where, 0, budget.horizon, budget, source=source))
    return levels


def _given(fields: Mapping[str, Any] | None) -> dict[str, Any]:
    return {key: value for key, value in (fields or {}).items() if value is not None}


def _joined(each: list[Budget]) -> list[Budget]:
    """The budgets of levels that share one schedule."""
    if any(budget.schedules for budget in each):
        raise ValueError("schedule 'single' is one schedule over all levels: recipe.cycles.n must be 1")
    return [replace(budget, schedules=(sum(b.horizon for b in each),)) for budget in each]


def _phase(schedule: str, point: int | None, budget: Budget, before: int) -> tuple[int, int]:
    if schedule in ("restart", "single"):
        return (before if schedule == "single" else 0), budget.horizon
    if schedule == "hold":
        return budget.horizon - 1, budget.horizon
    if schedule != "continue":
        raise ValueError(f"method.schedule={schedule!r} is not one of 'restart', 'continue', 'hold', 'single'")
    if point is None or point >= budget.horizon:
        raise ValueError("schedule 'continue' needs a rewind point before the level's end")
    return point, budget.horizon - point
