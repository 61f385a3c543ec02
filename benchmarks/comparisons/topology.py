"""The cost of changing masks: a training step of RigL with a mask update (drop and grow) and one without."""

from collections.abc import Iterator, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import torch
from torch import Tensor

from benchmarks.cases import RESNET20, Case, timed_level
from benchmarks.clock import timed
from benchmarks.interleave import Arm, Comparison
from benchmarks.level import PlainStep, TimedLevel
from benchmarks.setting import Setting
from lth.modules import KeptWeights
from lth.pruning import allocation, criteria, prune
from lth.pruning.masks import zero_

# a single batch is enough to train plain steps on
RESNET18 = Case("ResNet-18", ("recipe=cifar", "model=resnet18", "dataset.image_size=32", "dataset.channels=3"), 1, 1)
RIGL = ("method=rigl", "sparsity.density=0.1", "method.every=1", "method.order=after_step")


class Steps:
    """The network of a level at density 0.1, trained on its first batch with RigL's steps and updates."""

    def __init__(self, level: TimedLevel, setting: Setting):
        self.device, net, regrow = setting.device, level.fresh(), level.build_level(level.levels[0])[1]
        self.regrow = next(callback for callback in regrow if hasattr(callback, "moves"))
        level.masks.move_(lambda mask: mask.to(self.device))
        masks = prune(net, level.masks, 0.1, criteria.random, allocation.erk)
        self.step, self.batch = PlainStep(net, masks, level.recipe), next(iter(level.loader()))
        self.module = Held(net, masks, self.step.optimizer)
        self.module.remask_()
        self.regrow.ever = masks.bools()
        self.number, self.dense = 0, dict[str, Tensor]()

    def plain(self) -> None:
        """A masked training step."""
        self.step.optimizer.zero_grad()
        self.step.loss(*self.batch).backward()
        self._finish()

    def update(self) -> None:
        """A masked training step, then an update from the dense gradient of that step."""
        self.step.optimizer.zero_grad()
        self.step.loss(*self.batch).backward()
        self.regrow.memory.take(self._gradients, 0)
        self.dense = self.dense or dict(self.regrow.memory.read())
        self._finish()
        self.number += 1
        self.regrow.update_(self.module, self.number)

    def only_update(self) -> None:
        """An update alone, always from the same gradient."""
        self.regrow.memory.take(lambda: self.dense, 0)
        self.number += 1
        self.regrow.update_(self.module, self.number)

    def _gradients(self) -> dict[str, Tensor]:
        grads = {n: w.grad for n, w in zip(self.module.masks, self.module._weights, strict=True)}
        return {name: grad for name, grad in grads.items() if grad is not None}

    def _finish(self) -> None:
        held = self.module
        zero_([w.grad for w in held._weights if w.grad is not None], held._kept)
        self.step.optimizer.step()
        zero_(held._weights, held._kept)


class Held(SimpleNamespace):
    """The attributes of a LightningModule that an update needs."""

    def __init__(self, net: torch.nn.Module, masks: Any, optimizer: torch.optim.Optimizer):
        super().__init__(
            net=net,
            masks=masks,
            support=masks,
            attached=None,
            changes=0,
            trainer=SimpleNamespace(optimizers=[optimizer]),
        )
        self._weights, self._kept = self.masks.weights(net), list(self.masks.values())

    def remask_(self) -> None:
        """`KeptWeights.remask_` on these attributes."""
        KeptWeights.remask_(cast(KeptWeights, self))

    def mask_in_steps(self, without: Sequence[Tensor]) -> None:
        """Nothing: these steps mask all weights."""


def comparisons(setting: Setting) -> Iterator[Comparison]:
    """Batches of 128 at density 0.1. RigL updates every 100 steps, so its cost is 1 % of the difference."""
    for case in (RESNET20, RESNET18):
        with timed_level(case, setting, *RIGL) as level:
            steps = Steps(level, setting)
            steps.update()  # stores a dense gradient for the arm that computes none
            ways = {
                "step with an update": steps.update,
                "step without one": steps.plain,
                "the update alone": steps.only_update,
            }
            arms = [Arm(name, partial(timed, way, setting.device)) for name, way in ways.items()]
            yield Comparison(f"RigL's update, {case.title}", arms)
