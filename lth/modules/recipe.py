"""The recipe: optimizer, learning-rate schedule, length, batch size, augmentation and regularisation of one level."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from lth.modules.schedules import Schedule

NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm)
DECAYS = ("all", "no_norm", "prunable")


@dataclass(frozen=True)
class Recipe:
    """How a level is trained; the same for every method. The fields are documented in `conf/recipe/`."""

    optimizer: Callable[..., torch.optim.Optimizer]
    schedule: Schedule
    lr: float
    batch_size: int
    epochs: int | None = None
    steps: int | None = None
    weight_decay: float = 0.0
    decay: str = "all"
    schedule_every: str = "step"
    label_smoothing: float = 0.0
    mixup: float = 0.0
    clip: float | None = None
    accumulate: int = 1
    ema: float = 0.0
    precision: str = "32-true"
    augment: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError(f"give exactly one of recipe.epochs={self.epochs} and recipe.steps={self.steps}")
        at_least = {"epochs": 1, "steps": 1, "batch_size": 1, "accumulate": 1, "lr": 0, "weight_decay": 0, "mixup": 0}
        for name, low in at_least.items():
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
        if self.decay not in DECAYS:
            raise ValueError(f"recipe.decay {self.decay!r} is not one of {DECAYS}")

    def horizon(self, epoch: int) -> int:
        """Optimizer steps of one full schedule, with `epoch` steps to an epoch."""
        return self.steps if self.steps is not None else (self.epochs or 0) * epoch

    def build(self, net: nn.Module, prunable: set[str]) -> torch.optim.Optimizer:
        """The optimizer over the trainable parameters of `net`; `prunable` names the weights masks cover."""
        decayed: list[nn.Parameter] = []
        free: list[nn.Parameter] = []
        norms = {id(p) for m in net.modules() if isinstance(m, NORMS) for p in m.parameters(recurse=False)}
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
