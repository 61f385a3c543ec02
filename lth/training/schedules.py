"""Learning-rate schedules: pure functions of the step, so that resuming and rewinding need no state.

Each returns the factor on the base learning rate.

step: 0-based optimizer step
total: optimizer steps of the level
epoch: optimizer steps of one epoch
warmup: epochs of linear warm-up, which reaches 1 at its last step; milestones are counted from the level's start

For a rate that changes once per epoch, `Clock` calls a schedule with epochs as its steps. A schedule must therefore
take its lengths in epochs or as fractions of `total`. The names `warmup` and `peak` are reserved for warm-up:
`recipe.cycles.skip_warmup` sets them to 0.
"""

import inspect
import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Any

Schedule = Callable[[float, float, float], float]  # step, total, epoch -> factor


def constant(step: float, total: float, epoch: float, *, warmup: float = 0) -> float:
    """1 after warm-up."""
    return _warm(step, warmup * epoch)


def schedule_free(step: float, total: float, epoch: float, *, warmup: float = 0) -> float:
    """1 after warm-up, for optimizers whose average of the weights replaces a schedule (arXiv 2405.15682)."""
    return constant(step, total, epoch, warmup=warmup)


def multistep(
    step: float, total: float, epoch: float, *, milestones: Sequence[float], gamma: float = 0.1, warmup: float = 0
) -> float:
    """1 after warm-up, times `gamma` at each milestone, in epochs; milestones under 1 are fractions of the level."""
    at = [round(m * total, 6) if 0 < m < 1 else m * epoch for m in milestones]  # unrounded, 0.55 * 100 is over 55
    return _warm(step, warmup * epoch) * gamma ** sum(step >= m for m in at)


def cosine(step: float, total: float, epoch: float, *, minimum: float = 0.0, warmup: float = 0) -> float:
    """Half a cosine from 1 to `minimum`, a fraction of the base rate, after warm-up (arXiv 1608.03983)."""
    w = warmup * epoch
    if step < w:
        return _warm(step, w)
    return minimum + (1 - minimum) * (1 + math.cos(math.pi * (step - w) / (total - w))) / 2


def triangular(
    step: float, total: float, epoch: float, *, start: float = 0.2, peak: float = 0.2, end: float = 0.0
) -> float:
    """Linear from `start` to 1 at the fraction `peak` of the level, then linear to `end` (arXiv 2406.02773)."""
    top = int(_fraction("peak", peak) * total)
    if step < top:
        return start + (1 - start) * step / top
    return 1 + (end - 1) * (step - top) / (total - top)


def trapezoidal(step: float, total: float, epoch: float, *, warmup: float = 0, cooldown: float = 0.2) -> float:
    """1 after warm-up, then linear to 0 over the last fraction `cooldown` of the level."""
    down = (total - step) / (cooldown * total) if cooldown else 1.0
    return min(_warm(step, warmup * epoch), 1.0, down)


def one_cycle(
    step: float, total: float, epoch: float, *, peak: float = 0.3, start: float = 1 / 25, end: float = 1e-4
) -> float:
    """Cosine from `start` to 1 at the fraction `peak`, then cosine to `start * end` (Smith, arXiv 1708.07120)."""
    top = _fraction("peak", peak) * total
    low, progress = (start, step / top) if step < top else (start * end, 1 - (step - top) / (total - top))
    return low + (1 - low) * (1 - math.cos(math.pi * progress)) / 2


def imagenet_drops(
    step: float,
    total: float,
    epoch: float,
    *,
    milestones: Sequence[float] = (40, 70),
    gamma: float = 0.1,
    warmup: float = 10,
    low: float = 0.1,
    ramp: bool = False,
) -> float:
    """`low` for the first `warmup` epochs, then 1, multiplied by `gamma` at each milestone (epochs).

    ramp: whether the factor rises linearly from `low` to 1 in these epochs

    The schedule of 90 ImageNet epochs in the code of cyclic sparse training (arXiv 2406.02773).
    """
    if step >= warmup * epoch:
        return multistep(step, total, epoch, milestones=milestones, gamma=gamma)
    return low + (1 - low) * step / (warmup * epoch) if ramp else low


def _without_warmup(schedule: Schedule) -> Schedule:
    """`schedule` without warm-up, or from its peak on. Raises ValueError for a schedule that has neither."""
    names = [name for name in ("warmup", "peak") if name in inspect.signature(schedule).parameters]
    if not names:
        raise ValueError("recipe.cycles.skip_warmup: this schedule has no warm-up to skip")
    return partial(schedule, **dict.fromkeys(names, 0))


def _plain(schedule: Any) -> Schedule:
    # Hydra's partial takes 165 µs in each call, and OmegaConf's list of milestones 6 µs
    if not hasattr(schedule, "func"):
        return schedule
    lists = {name: tuple(value) for name, value in schedule.keywords.items() if _is_list(value)}
    return partial(schedule.func, *schedule.args, **{**schedule.keywords, **lists})


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _warmup_of(schedule: Any) -> float:
    """Epochs of warm-up."""
    parameter = inspect.signature(schedule).parameters.get("warmup")
    return 0.0 if parameter is None else float(parameter.default)


def _fraction(name: str, value: float) -> float:
    if not 0 <= value <= 1:
        raise ValueError(f"recipe.schedule.{name}={value} must be a fraction of the level, 0..1")
    return value


def _warm(step: float, warmup: float) -> float:
    return min(1.0, (step + 1) / warmup) if warmup else 1.0


@dataclass(frozen=True)
class Clock:
    """The factor on the base learning rate at each step of a level, or of one of its cycles.

    schedule: a function of this module
    total: optimizer steps of the level or cycle
    epoch: optimizer steps of one epoch
    every: `step`, or `epoch` for a rate that changes once per epoch
    late: epochs at the base rate before the schedule begins; the end of the schedule is then not reached

    Raises ValueError for a warm-up that is longer than the level, and if the factor at the first, middle or last
    step is outside 0..1.
    """

    schedule: Schedule
    total: int
    epoch: int
    every: str = "step"
    late: int = 0

    def __post_init__(self) -> None:
        if self.every not in ("step", "epoch"):
            raise ValueError(f"schedule_every {self.every!r} is not one of 'step', 'epoch'")
        object.__setattr__(self, "schedule", _plain(self.schedule))
        warmup = _warmup_of(self.schedule)
        if warmup * self.epoch > self.total:
            raise ValueError(
                f"recipe.schedule.warmup={warmup:g} epochs is longer than a level or cycle of "
                f"{self.total / self.epoch:g}, so that the base learning rate is never reached"
            )
        for step in (0, self.total // 2, self.total - 1):
            self._check(step)

    def __call__(self, step: int) -> float:
        """The factor on the base learning rate at optimizer step `step`."""
        step -= self.late * self.epoch
        if step < 0:
            return 1.0
        if self.every == "epoch":
            return self.schedule(step // self.epoch, self.total / self.epoch, 1)
        return self.schedule(step, self.total, self.epoch)

    def _check(self, step: int) -> None:
        try:
            factor = self(step)
        except ZeroDivisionError:
            factor = math.nan
        if not 0 <= factor <= 1 + 1e-9:
            raise ValueError(f"recipe.schedule gives the factor {factor} at step {step} of {self.total}")


class Clocks:
    """One `Clock` after another: each cycle of a level runs through a whole schedule (arXiv 2406.02773).

    schedule: schedule of each cycle
    totals: lengths of the cycles in optimizer steps
    rest: further arguments of `Clock`, from `epoch` on
    skip_warmup: whether only the first cycle has a warm-up

    Attribute: `starts`, the first step of each cycle.
    """

    def __init__(self, schedule: Schedule, totals: Sequence[int], *rest: Any, skip_warmup: bool = False):
        self.starts = [0, *accumulate(totals)][:-1]
        again = _without_warmup(_plain(schedule)) if skip_warmup and len(totals) > 1 else schedule
        self.clocks = [Clock(again if i else schedule, total, *rest) for i, total in enumerate(totals)]

    def __call__(self, step: int) -> float:
        """The factor on the base learning rate at optimizer step `step`."""
        index = self.at(step)
        return self.clocks[index](step - self.starts[index])

    def at(self, step: int) -> int:
        """The 0-based cycle that contains optimizer step `step`."""
        return bisect_right(self.starts, step) - 1
