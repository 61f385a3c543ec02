"""Shares: how a budget is divided into cycles, or over levels. Pure functions of numbers.

Strategies after cyclic sparse training (arXiv 2406.02773) and its released code.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

Strategy = Callable[[int, int], list[Fraction]]  # budget, parts -> real shares, not yet normalised
ROUNDINGS = ("exact", "floor")
STATES = ("fresh", "keep")


def split(budget: int, parts: int, strategy: str = "constant", rounding: str = "exact") -> list[int]:
    """`budget` in `parts` whole shares. `exact`: they sum to it, the rest of flooring going to the largest fractions,
    earlier ones first. `floor`: as the released code does it; up to a share's worth is dropped.

    Raises ValueError for names there are not, and where a part would get nothing.
    """
    if strategy not in STRATEGIES or rounding not in ROUNDINGS:
        raise ValueError(
            f"strategy {strategy!r} is not one of {tuple(STRATEGIES)}, or rounding {rounding!r} not one of {ROUNDINGS}"
        )
    if not isinstance(parts, int) or parts < 1:
        raise ValueError(f"{parts!r} parts: a budget has 1 or more of them")
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


STRATEGIES: dict[str, Strategy] = {
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
    """How a level's length is divided into `n` cycles, each a whole learning-rate schedule of its own length.

    strategy, rounding: of the lengths, as in `split`. skip_warmup: only the first cycle warms up. optimizer: its state
    at the start of a cycle, `fresh` or `keep`.
    """

    n: int = 1
    strategy: str = "constant"
    rounding: str = "exact"
    skip_warmup: bool = False
    optimizer: str = "fresh"

    def __post_init__(self) -> None:
        if self.optimizer not in STATES:
            raise ValueError(f"recipe.cycles.optimizer {self.optimizer!r} is not one of {STATES}")

    def lengths(self, budget: int) -> tuple[int, ...]:
        """Lengths of the cycles of a level that is `budget` long. Raises ValueError naming the keys."""
        try:
            return tuple(split(budget, self.n, self.strategy, self.rounding))
        except ValueError as error:
            raise ValueError(f"recipe.cycles: {error}") from None


@dataclass(frozen=True)
class Budget:
    """Optimizer steps: `horizon` of a full level, `epoch` of one pass over the data.

    schedules: the lengths of the learning-rate schedules one after another on which a level's `first_step` counts;
    empty = one, as long as the level.
    """

    horizon: int
    epoch: int
    schedules: tuple[int, ...] = ()

    @classmethod
    def of(cls, length: int, unit: int, epoch: int, cycles: Cycles) -> "Budget":
        """A level that takes `length` times `unit` steps, less what the rounding of its cycles drops."""
        lengths = tuple(unit * part for part in cycles.lengths(length))
        return cls(sum(lengths), epoch, lengths if len(lengths) > 1 else ())

    def over(self, levels: int) -> list["Budget"]:
        """The budget of each of `levels` levels: for all the same."""
        return [self] * levels


@dataclass(frozen=True)
class Total:
    """The epochs of all levels of a ladder together, spread over them by `strategy`; `epoch` steps to an epoch."""

    epochs: int
    epoch: int
    strategy: str = "constant"
    cycles: Cycles = field(default_factory=Cycles)

    def over(self, levels: int) -> list[Budget]:
        """The budget of each of `levels` levels. Raises ValueError where one gets too few epochs."""
        try:
            shares = split(self.epochs, levels, self.strategy, self.cycles.rounding)
        except ValueError as error:
            raise ValueError(f"recipe.total_epochs over the levels: {error}") from None
        return [Budget.of(share, self.epoch, self.epoch, self.cycles) for share in shares]

    @property
    def horizon(self) -> int:
        """No number: raises ValueError for plans whose levels are not the rungs of one ladder."""
        raise ValueError(
            f"recipe.total_epochs={self.epochs} is spread over the equal levels of a ladder; "
            "a level of another kind needs recipe.epochs or recipe.steps of its own"
        )


Budgets = Mapping[str, Any]  # by the method's stages: a Budget, or the Total of a ladder
