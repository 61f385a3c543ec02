"""A level of an experiment, and points in its training."""

import re
from dataclasses import dataclass
from pathlib import Path

from lth.plan.budget import Budget

_PERCENT = re.compile(r"\d+\.\d+")


@dataclass(frozen=True)
class Level:
    """One training run from start to finish at one density.

    index: position in the experiment, from 0
    name: name in its folder and in its row of tables
    density: fraction of prunable weights kept at its end, 0..1
    stage: key in the method's `stages`, which say what is trained and which callbacks act
    folder: the level's folder
    first_step: step of the learning-rate schedule at which it begins
    steps: number of optimizer steps
    budget: the steps of a full level of its stage
    hold: whether the learning rate stays that of `first_step`
    source: index of the level whose end is loaded; its weights may then be rewound; None = the initial weights
    order: index of the level whose data order it shares; None = its own
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

    @staticmethod
    def place(folder: Path, index: int, density: float) -> tuple[str, Path]:
        """Name and folder of the level `index` of a ladder.

        folder: the run's folder
        density: fraction of prunable weights kept, 0..1
        """
        name = "dense" if density == 1 else f"density_{density:.4g}"
        return name, folder / f"level_{index:02d}_{name}"

    @property
    def first(self) -> bool:
        """Whether it starts from the initial weights, so that there is nothing to load or rewind to."""
        return self.source is None

    @property
    def stream(self) -> int:
        """The number that seeds the level's data order, augmentation, mixup and dropout."""
        return self.index if self.order is None else self.order


@dataclass(frozen=True)
class Times:
    """Points in a level's training, from `begin` to `end` at the distance `every`.

    every: distance between two of them: optimizer steps, "1ep" or "2%"
    begin: the first point
    end: the last point; a callback says whether it is included
    """

    every: int | str = 100
    begin: int | str = 0
    end: int | str = "75%"

    def steps(self, budget: Budget) -> tuple[int, int, int]:
        """Distance, begin and end in optimizer steps of a level with this budget. Raises ValueError as `steps_of`."""
        every = steps_of(self.every, budget, distance=True)
        return every or 0, steps_of(self.begin, budget) or 0, steps_of(self.end, budget) or 0


def steps_of(point: str | int | None, budget: Budget, distance: bool = False) -> int | None:
    """The optimizer step of a point in training; None stays None.

    point: 500 or "500it" (steps), "2ep" (after two full epochs) or "5%" (of a full level)
    budget: the level's budget
    distance: True for a distance between steps; a percentage is then one step or more

    Raises ValueError for another form, or a point beyond the level's end.
    """
    if point is None:
        return None
    steps = _parse(str(point), budget)
    if distance and str(point).endswith("%"):
        steps = max(1, steps)
    if not 0 <= steps <= budget.horizon:
        epochs = f"{budget.horizon / budget.epoch:g} epochs"
        raise ValueError(
            f"the point {point!r} is step {steps}, but a level has {budget.horizon} steps ({epochs}): "
            "give a point within it (rewind, every, ...), or train longer (recipe.epochs; max_epochs of a script)"
        )
    return steps


def _parse(point: str, budget: Budget) -> int:
    units: dict[str, float] = {"ep": budget.epoch, "%": budget.horizon / 100, "it": 1, "": 1}
    for unit, steps in units.items():
        number = point.removesuffix(unit)
        if point.endswith(unit) and (number.isdecimal() or (unit == "%" and _PERCENT.fullmatch(number))):
            return round(float(number) * steps)
    raise ValueError(f"the point {point!r} is not of the form 0, '500it', '2ep' or '5%'")
