"""The recipe: how a level is trained, independent of the method."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import nn

from lth.plan import Budget, LadderBudget
from lth.plan.budget import STRATEGIES, Cycles
from lth.training.schedules import Clocks, Schedule, constant, schedule_free

_NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm)
_DECAYS = ("all", "no_norm", "prunable")
LENGTHS = ("epochs", "steps", "total_epochs")


@dataclass(frozen=True)
class Recipe:
    """Optimizer, learning-rate schedule, length, batch size, augmentation and regularisation of one level.

    `conf/recipe/` documents the fields. Raises ValueError for values out of range and for impossible combinations.
    """

    acts_with: ClassVar = {"level_strategy": "total_epochs"}  # fields without effect where the other one is null

    optimizer: Callable[..., torch.optim.Optimizer]
    schedule: Schedule
    lr: float
    batch_size: int
    epochs: int | None = None
    steps: int | None = None
    total_epochs: int | None = None
    level_strategy: str = "constant"
    cycles: Cycles = field(default_factory=Cycles)
    weight_decay: float = 0.0
    decay: str = "all"
    schedule_every: str = "step"
    schedule_late: int = 0
    label_smoothing: float = 0.0
    mixup: float = 0.0
    clip: float | None = None
    accumulate: int = 1
    ema: float = 0.0
    precision: str = "32-true"
    augment: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._check_length()
        at_least = {"batch_size": 1, "accumulate": 1, "lr": 0, "weight_decay": 0, "mixup": 0, "schedule_late": 0}
        for name, low in {**dict.fromkeys(LENGTHS, 1), **at_least}.items():
            value = getattr(self, name)
            if not isinstance(value, int | float | None):
                raise ValueError(f"recipe.{name}={value!r} must be a number")
            if value is not None and value < low:
                raise ValueError(f"recipe.{name}={value} must be at least {low}")
        for name in ("label_smoothing", "ema"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"recipe.{name}={getattr(self, name)} must be at least 0 and under 1")
        if self.clip is not None and self.clip <= 0:
            raise ValueError(f"recipe.clip={self.clip} must be over 0, or null for no clipping")
        if self.decay not in _DECAYS:
            raise ValueError(f"recipe.decay {self.decay!r} is not one of {_DECAYS}")
        self._check_average()
        self._check_closure()

    @property
    def averages(self) -> bool:
        """Whether the optimizer averages the weights itself (schedule-free): it then has a train and an eval mode."""
        return hasattr(_target(self.optimizer), "eval")

    def budget(self, epoch: int) -> Budget | LadderBudget:
        """Length of a level, or of all levels of a ladder together.

        epoch: optimizer steps of one epoch
        """
        if self.total_epochs is not None:
            return LadderBudget(self.total_epochs, epoch, self.level_strategy, self.cycles)
        length, unit = (self.steps, 1) if self.steps is not None else (self.epochs, epoch)
        return Budget.of(length or 0, unit, epoch, self.cycles)

    def clocks(self, budget: Budget) -> Clocks:
        """The learning-rate factor at each step of a level with `budget`."""
        return Clocks(
            self.schedule,
            budget.schedules or (budget.horizon,),
            budget.epoch,
            self.schedule_every,
            self.schedule_late,
            skip_warmup=self.cycles.skip_warmup,
        )

    def build(self, net: nn.Module, prunable: set[str]) -> torch.optim.Optimizer:
        """The optimizer of the trainable parameters of `net`, in groups with and without weight decay.

        prunable: names of the weights that masks cover
        """
        decayed: list[nn.Parameter] = []
        free: list[nn.Parameter] = []
        norms = {id(p) for m in net.modules() if isinstance(m, _NORMS) for p in m.parameters(recurse=False)}
        for name, p in net.named_parameters():
            decays = {"all": True, "no_norm": id(p) not in norms, "prunable": name in prunable}[self.decay]
            if p.requires_grad:
                (decayed if decays else free).append(p)
        groups = [
            {"params": params, "weight_decay": decay}
            for params, decay in ((decayed, self.weight_decay), (free, 0.0))
            if params
        ]
        return self.optimizer(groups, lr=self.lr)

    def _check_average(self) -> None:
        schedule = _target(self.schedule)
        if schedule is schedule_free and not self.averages:
            raise ValueError(
                f"recipe/schedule=schedule_free is not for {_target(self.optimizer).__name__}, which keeps no average: "
                "set recipe/optimizer=schedule_free_sgd or schedule_free_adamw"
            )
        if self.averages and schedule not in (constant, schedule_free):
            raise ValueError(
                f"a schedule-free optimizer with the schedule {schedule.__name__}: its average replaces a schedule; "
                "set recipe/schedule=schedule_free, or constant"
            )
        if self.averages and self.ema:
            raise ValueError(f"recipe.ema={self.ema}: a schedule-free optimizer averages itself; set it to 0")

    def _check_closure(self) -> None:
        if getattr(_target(self.optimizer), "passes", 1) == 1:
            return
        name = _target(self.optimizer).__name__
        if self.accumulate > 1:
            raise ValueError(f"recipe.accumulate={self.accumulate}: {name} computes each batch twice; set it to 1")
        if self.precision == "16-mixed":
            raise ValueError(f"recipe.precision=16-mixed: {name} cannot scale its losses; take bf16-mixed or 32-true")

    def _check_length(self) -> None:
        given = {f"recipe.{name}": getattr(self, name) for name in LENGTHS}
        if sum(value is not None for value in given.values()) != 1:
            listed = " and ".join(f"{name}={value}" for name, value in given.items())
            raise ValueError(f"give exactly one of {listed}; the others are null")
        for name, value in given.items():
            if not isinstance(value, int | None):
                raise ValueError(f"{name}={value!r} must be a whole number")
        if self.level_strategy not in STRATEGIES:
            raise ValueError(f"recipe.level_strategy {self.level_strategy!r} is not one of {tuple(STRATEGIES)}")


def _target(partial: Any) -> Any:
    return getattr(partial, "func", partial)
