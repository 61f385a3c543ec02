"""Budgets of optimizer steps, and how one is split into cycles or over levels. Pure functions of numbers.

Strategies after cyclic sparse training (arXiv 2406.02773) and its released code.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

_Strategy = Callable[[int, int], list[Fraction]]  # budget, parts -> unrounded lengths; their sum may exceed the budget
_ROUNDINGS = ("exact", "floor")
_OPTIMIZER_STATES = ("fresh", "keep")


def split(budget: int, parts: int, strategy: str = "constant", rounding: str = "exact") -> list[int]:
    """Split `budget` into `parts` positive integers.

    budget: total in steps or epochs
    parts: number of parts, 1 or more
    strategy: how the parts grow or shrink, a name in `STRATEGIES`
    rounding: `exact` is the largest-remainder method, whose parts sum to the budget; `floor` rounds down as the
        released code does, and may drop up to one step or epoch per part

    Raises ValueError for an unknown strategy or rounding, and where a part would be 0.
    """
    if strategy not in STRATEGIES:
        raise ValueError(f"strategy={strategy!r} is not one of {tuple(STRATEGIES)}")
    if rounding not in _ROUNDINGS:
        raise ValueError(f"rounding={rounding!r} is not one of {_ROUNDINGS}")
    if not isinstance(parts, int) or parts < 1:
        raise ValueError(f"n={parts!r}: a budget is split into 1 or more parts, a whole number")
    shares = STRATEGIES[strategy](budget, parts)
    whole = _exact(budget, shares) if rounding == "exact" else _floored(budget, shares, strategy)
    if min(whole) < 1:
        raise ValueError(f"{budget} in {parts} parts, {strategy}, would be {whole}: every part needs 1 or more")
    return whole


def _exact(budget: int, shares: list[Fraction]) -> list[int]:
    scaled = [share * budget / sum(shares) for share in shares]
    whole = [int(share) for share in scaled]
    first = sorted(range(len(whole)), key=lambda i: (whole[i] - scaled[i], i))  # largest fraction first
    for i in first[: budget - sum(whole)]:
        whole[i] += 1
    return whole


def _floored(budget: int, shares: list[Fraction], strategy: str) -> list[int]:
    whole = [int(share) for share in shares]
    if strategy == "alternating":  # half of the high share as it was floored
        whole[1::2] = [whole[0] // 2] * len(whole[1::2])
    total = sum(whole)
    return [share * budget // total for share in whole] if total > budget else whole


def _linear(budget: int, parts: int) -> list[Fraction]:
    return [Fraction(budget * (i + 1), parts * (parts + 1) // 2) for i in range(parts)]


def _exponential(budget: int, parts: int) -> list[Fraction]:
    powers = [Fraction(2.0 ** (i / max(1, parts - 1))) for i in range(parts)]
    return [budget * power / sum(powers) for power in powers]


def _peak(budget: int, parts: int) -> list[Fraction]:
    return _linear(budget, parts // 2) + _linear(budget, parts - parts // 2)[::-1]


def _alternating(budget: int, parts: int) -> list[Fraction]:
    high = Fraction(budget, parts // 2 + parts % 2)
    return [high / 2 if i % 2 else high for i in range(parts)]


def _plateau(budget: int, parts: int) -> list[Fraction]:
    return _linear(budget, parts // 2) + [Fraction(budget, parts)] * (parts - parts // 2)


STRATEGIES: dict[str, _Strategy] = {
    "constant": lambda budget, parts: [Fraction(budget, parts)] * parts,
    "linear_decrease": lambda budget, parts: _linear(budget, parts)[::-1],
    "linear_increase": _linear,
    "exponential_decrease": lambda budget, parts: _exponential(budget, parts)[::-1],
    "exponential_increase": _exponential,
    "cyclic_peak": _peak,
    "alternating": _alternating,
    "plateau": _plateau,
}


@dataclass(frozen=True)
class Cycles:
    """How a level is divided into cycles, each a whole learning-rate schedule.

    n: number of cycles
    strategy, rounding: of the cycles' lengths, as in `split`
    skip_warmup: whether only the first cycle warms up
    optimizer: optimizer state at the start of a cycle: `fresh` or `keep`
    """

    n: int = 1
    strategy: str = "constant"
    rounding: str = "exact"
    skip_warmup: bool = False
    optimizer: str = "fresh"

    def __post_init__(self) -> None:
        if self.optimizer not in _OPTIMIZER_STATES:
            raise ValueError(f"recipe.cycles.optimizer {self.optimizer!r} is not one of {_OPTIMIZER_STATES}")

    def lengths(self, budget: int) -> tuple[int, ...]:
        """The cycles' lengths in a level of length `budget`. Raises ValueError naming the configuration keys."""
        try:
            return tuple(split(budget, self.n, self.strategy, self.rounding))
        except ValueError as error:
            raise ValueError(f"recipe.cycles: {error}") from None


@dataclass(frozen=True)
class Budget:
    """The optimizer steps of a level.

    horizon: steps of a full level
    epoch: steps of one pass over the data
    schedules: steps of the learning-rate schedules that follow one another; empty means one over the whole level
    """

    horizon: int
    epoch: int
    schedules: tuple[int, ...] = ()

    @classmethod
    def of(cls, length: int, unit: int, epoch: int, cycles: Cycles) -> "Budget":
        """The budget of a level of `length` units, less what the rounding of its cycles drops.

        length: length in units (epochs, or steps)
        unit: optimizer steps per unit
        epoch: optimizer steps per epoch
        cycles: how the level is divided
        """
        lengths = tuple(unit * part for part in cycles.lengths(length))
        return cls(sum(lengths), epoch, lengths if len(lengths) > 1 else ())

    def over(self, levels: int) -> list["Budget"]:
        """The budget of each of `levels` levels: the same for all."""
        return [self] * levels


@dataclass(frozen=True)
class LadderBudget:
    """The epochs of all levels of a ladder together, for plans that spread a fixed total over the levels.

    epochs: total epochs of all levels
    epoch: optimizer steps per epoch
    strategy: how the epochs are spread, as in `split`
    cycles: how each level is divided
    """

    epochs: int
    epoch: int
    strategy: str = "constant"
    cycles: Cycles = field(default_factory=Cycles)

    def over(self, levels: int) -> list[Budget]:
        """The budget of each of `levels` levels. Raises ValueError where a level would get no epoch."""
        try:
            shares = split(self.epochs, levels, self.strategy, self.cycles.rounding)
        except ValueError as error:
            raise ValueError(f"recipe.total_epochs over the levels: {error}") from None
        return [Budget.of(share, self.epoch, self.epoch, self.cycles) for share in shares]

    @property
    def horizon(self) -> int:
        """Always raises ValueError: a plan reads it only for levels that do not form one ladder."""
        raise ValueError(
            f"recipe.total_epochs={self.epochs} is spread over the equal levels of a ladder; "
            "a level of another kind needs recipe.epochs or recipe.steps of its own"
        )


Budgets = Mapping[str, Any]  # stage of the method -> Budget, or LadderBudget
