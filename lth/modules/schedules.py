"""Learning-rate schedules: pure functions of the step, so that resuming and rewinding are an index.

Each returns the factor on the base learning rate at optimizer step `step` (0-based) of `total`, with `epoch` steps to
one epoch. Warm-up is `warmup` epochs, linear, reaching 1 at its last step, and never moves a milestone: milestones are
absolute. A schedule that is to change once an epoch is called with steps that are epochs (see `Clock`).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

Schedule = Callable[[float, float, float], float]  # step, total, epoch -> factor


def constant(step: float, total: float, epoch: float, *, warmup: float = 0) -> float:
    """1 throughout."""
    return _warm(step, warmup * epoch)


def multistep(
    step: float, total: float, epoch: float, *, milestones: Sequence[float], gamma: float = 0.1, warmup: float = 0
) -> float:
    """Times `gamma` at each milestone (epochs; values under 1 are fractions of the level)."""
    at = [round(m * total, 6) if 0 < m < 1 else m * epoch for m in milestones]  # 0.55 * 100 is over 55
    return _warm(step, warmup * epoch) * gamma ** sum(step >= m for m in at)


def cosine(step: float, total: float, epoch: float, *, minimum: float = 0.0, warmup: float = 0) -> float:
    """Half a cosine from 1 to `minimum` (fraction of the base rate) over what warm-up leaves (arXiv 1608.03983)."""
    w = warmup * epoch
    if step < w:
        return _warm(step, w)
    return minimum + (1 - minimum) * (1 + math.cos(math.pi * (step - w) / (total - w))) / 2


def triangular(
    step: float, total: float, epoch: float, *, start: float = 0.2, peak: float = 0.2, end: float = 0.0
) -> float:
    """Linear from `start` up to 1 at the fraction `peak` of the level, then down to `end` (arXiv 2406.02773)."""
    top = int(_fraction("peak", peak) * total)
    if step < top:
        return start + (1 - start) * step / top
    return 1 + (end - 1) * (step - top) / (total - top)


def trapezoidal(step: float, total: float, epoch: float, *, warmup: float = 0, cooldown: float = 0.2) -> float:
    """Warm-up, 1, then linear to 0 over the last fraction `cooldown` of the level."""
    down = (total - step) / (cooldown * total) if cooldown else 1.0
    return min(_warm(step, warmup * epoch), 1.0, down)


def one_cycle(
    step: float, total: float, epoch: float, *, peak: float = 0.3, start: float = 1 / 25, end: float = 1e-4
) -> float:
    """Cosine up from `start` to 1 at the fraction `peak`, cosine down to `start * end` (Smith, arXiv 1708.07120)."""
    top = _fraction("peak", peak) * total
    low, progress = (start, step / top) if step < top else (start * end, 1 - (step - top) / (total - top))
    return low + (1 - low) * (1 - math.cos(math.pi * progress)) / 2


def _fraction(name: str, value: float) -> float:
    if not 0 <= value <= 1:
        raise ValueError(f"recipe.schedule.{name}={value} must be a fraction of the level, 0..1")
    return value


def _warm(step: float, warmup: float) -> float:
    return min(1.0, (step + 1) / warmup) if warmup else 1.0


@dataclass(frozen=True)
class Clock:
    """A schedule on one level's time axis. every: `step`, or `epoch` for a rate that changes once an epoch."""

    schedule: Schedule
    total: int
    epoch: int
    every: str = "step"

    def __post_init__(self) -> None:
        if self.every not in ("step", "epoch"):
            raise ValueError(f"schedule_every {self.every!r} is not one of 'step', 'epoch'")
        given: Any = self.schedule
        if hasattr(given, "func"):  # Hydra's own partial checks its policy at every call: 165 µs a step
            object.__setattr__(self, "schedule", partial(given.func, *given.args, **given.keywords))
        for step in (0, self.total // 2, self.total - 1):
            self._check(step)

    def __call__(self, step: int) -> float:
        """The factor on the base learning rate at optimizer step `step`."""
        if self.every == "epoch":
            return self.schedule(step // self.epoch, self.total / self.epoch, 1)
        return self.schedule(step, self.total, self.epoch)

    def _check(self, step: int) -> None:
        """A peak or a warm-up outside the level shows here, not as a strange curve after hours."""
        try:
            factor = self(step)
        except ZeroDivisionError:
            factor = math.nan
        if not 0 <= factor <= 1 + 1e-9:
            raise ValueError(f"recipe.schedule gives the factor {factor} at step {step} of {self.total}")
