"""A level of an experiment, and points in its training."""

import re
from dataclasses import dataclass
from pathlib import Path

from lth.plan.budget import Budget

_PERCENT = re.compile(r"\d+\.\d+")


@dataclass(frozen=True)
class Level:
    """One training run from start to finish at one density.

    stage: the key of the method's `stages` that says what is trained and what happens at the boundary.
    first_step, steps: where on the learning-rate schedule the level begins, and how many optimizer steps it takes.
    budget: the steps of a full level of its kind. hold: train at the learning rate of `first_step` throughout.
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
        raise ValueError(
            f"the point {point!r} is step {steps}, but a level has {budget.horizon} steps ({epochs}): "
            "give a point within it (method.every, method.rewind, ...), or more recipe.epochs"
        )
    return steps


def _parse(point: str, budget: Budget) -> int:
    units: dict[str, float] = {"ep": budget.epoch, "%": budget.horizon / 100, "it": 1, "": 1}
    for unit, steps in units.items():
        number = point.removesuffix(unit)
        if point.endswith(unit) and (number.isdecimal() or (unit == "%" and _PERCENT.fullmatch(number))):
            return round(float(number) * steps)
    raise ValueError(f"the point {point!r} is not of the form 0, '500it', '2ep' or '5%'")
