"""The plan of an experiment: which levels it has. Pure functions of numbers; the loop that runs them is `levels.py`."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PERCENT = re.compile(r"\d+\.\d+")


@dataclass(frozen=True)
class Budget:
    """Optimizer steps: `horizon` of one full schedule, `epoch` of one pass over the data."""

    horizon: int
    epoch: int


Budgets = dict[str, Budget]  # by the method's stages


@dataclass(frozen=True)
class Level:
    """One training run from start to finish at one density.

    stage: the key of the method's `stages` that says what is trained and what happens at the boundary.
    first_step, steps: where on the learning-rate schedule the level begins, and how many optimizer steps it takes.
    budget: the steps of one full schedule. hold: train at the learning rate of `first_step` throughout.
    source: index of the level whose end it begins from, None for the initial weights. order: index of the level whose
    data order it shares; None = its own.
    """

    index: int
    name: str
    density: float
    stage: str
    folder: Path
    first_step: int
    steps: int
    budget: Budget
    hold: bool = False
    source: int | None = None
    order: int | None = None

    @property
    def first(self) -> bool:
        """Whether nothing came before: there is nothing to load and nothing to rewind to."""
        return self.source is None

    @property
    def stream(self) -> int:
        """What the level's data order, augmentation, mixup and dropout are drawn from."""
        return self.index if self.order is None else self.order


def steps_of(point: str | int | None, budget: Budget) -> int | None:
    """Optimizer steps of a point in training: 500 or "500it" steps, "2ep" epochs, "5%" of the level; null stays null.

    "2ep" means after two full epochs. Raises ValueError for anything else, or a point beyond the level's end.
    """
    if point is None:
        return None
    steps = _parse(str(point), budget)
    if not 0 <= steps <= budget.horizon:
        epochs = f"{budget.horizon / budget.epoch:g} epochs"
        raise ValueError(f"the point {point!r} is step {steps}, but a level has {budget.horizon} steps ({epochs})")
    return steps


def _parse(point: str, budget: Budget) -> int:
    units: dict[str, float] = {"ep": budget.epoch, "%": budget.horizon / 100, "it": 1, "": 1}
    for unit, steps in units.items():
        number = point.removesuffix(unit)
        if point.endswith(unit) and (number.isdecimal() or (unit == "%" and PERCENT.fullmatch(number))):
            return round(float(number) * steps)
    raise ValueError(f"the point {point!r} is not of the form 0, '500it', '2ep' or '5%'")


def ladder(
    densities: list[float],
    folder: Path,
    budgets: Budgets,
    rewind: str | int | None = None,
    schedule: str = "restart",
) -> list[Level]:
    """Equal levels, one a density (IMP and its relatives), all of the stage `train`.

    schedule: how the learning rate goes on after a pruning. `restart`: from the start, full length. `continue`: from
    the rewind point, for what is left (arXiv 1903.01611). `hold`: constant at its last value (fine-tuning).
    """
    budget = budgets["train"]
    point = steps_of(rewind, budget)
    first_step, steps = _phase(schedule, point, budget)
    levels = []
    for index, density in enumerate(densities):
        begin, length = (0, budget.horizon) if index == 0 else (first_step, steps)
        name = "dense" if density == 1 else f"density_{density:.4g}"
        where = folder / f"level_{index:02d}_{name}"
        hold = index > 0 and schedule == "hold"
        source = index - 1 if index else None
        levels.append(Level(index, name, density, "train", where, begin, length, budget, hold, source))
    return levels


def single(densities: list[float], folder: Path, budgets: Budgets, **_: object) -> list[Level]:
    """One level, at the ladder's last density: dense training, or pruning before any training."""
    return ladder(densities[-1:], folder, budgets)


def search(
    densities: list[float], folder: Path, budgets: Budgets, warm: int | str | None = None, finetune: bool = True
) -> list[Level]:
    """A level of stage `search` for every density after the ladder's start, then `finetune` of what was found.

    warm: first train the weights that are searched, in stage `warm`; null or 0 = search the initial ones.
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


def _phase(schedule: str, point: int | None, budget: Budget) -> tuple[int, int]:
    if schedule == "restart":
        return 0, budget.horizon
    if schedule == "hold":
        return budget.horizon - 1, budget.horizon
    if schedule != "continue":
        raise ValueError(f"schedule {schedule!r} is not one of 'restart', 'continue', 'hold'")
    if point is None or point == budget.horizon:
        raise ValueError("schedule 'continue' needs a rewind point before the level's end")
    return point, budget.horizon - point


Plan = Callable[..., list[Level]]
