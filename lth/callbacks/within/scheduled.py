"""Prunes within a level by a schedule of rules, each of which says what is pruned and when (Distiller's schedules)."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from torch import nn

from lth.callbacks._after_step import AfterStep
from lth.datamodules.scoring import ScoringData, image_shape_of
from lth.plan import Level
from lth.pruning import Masks
from lth.pruning.structured.coupling import CoupledLayers, coupled_layers
from lth.pruning.structured.groups import PruningGroup
from lth.pruning.structured.schedule_rule import ScheduleRule
from lth.pruning.structured.thresholds import prune_elements
from lth.training.ranks import broadcast_

_EVERY_LAYER = {"every layer": {"names": ["*"], "end": 0.1, "begin": 0, "stop": "75%"}}


class Scheduled(AfterStep):
    """Applies rules in order at the starts of epochs. Element pruners with `minibatches` also act within epochs.

    level: the level being trained
    rules: name -> options of `ScheduleRule.of`; None leaves a rule out. Without any rule every layer is pruned to a
        tenth of its weights over the first three quarters of the level (AGP)
    seed: the pruning seed

    Removed units stay removed. The checkpoint holds the values that each rule measured when it was first applied.
    Raises ValueError for options that `ScheduleRule` refuses.
    """

    reads_weights = True  # and changes masks; `SparseCompute` leaves such a level dense

    def __init__(self, level: Level, rules: Mapping[str, Mapping[str, Any]], seed: int = 0):
        rules = {name: options for name, options in rules.items() if options is not None} or _EVERY_LAYER
        self.level, self.seed = level, seed
        epochs = -(-level.steps // level.budget.epoch)
        self.rules: dict[str, ScheduleRule] = {}
        for name, options in rules.items():
            with _naming(name):
                self.rules[name] = ScheduleRule.of(**options)
                self.rules[name].timing.firings(epochs)
        self.firings = {name: rule.timing.firings(epochs) for name, rule in self.rules.items()}
        self.measured: dict[str, dict[str, Any]] = {name: {} for name in self.rules}
        self.events: list[dict[str, Any]] = []
        self._groups: dict[str, list[PruningGroup]] = {}

    def check(self, support: Masks) -> None:
        """Raise ValueError for rules that name unknown weights, or that prune the same units in the same epoch."""
        taken: dict[tuple[str, Any, int], str] = {}
        for name, rule in self.rules.items():
            for weight in self._weights(name, support):
                for epoch in self.firings[name].epochs:
                    unit = rule.selection.unit if rule.pruner is None else "elements"
                    other = taken.setdefault((weight, unit, epoch), name)
                    if other != name:
                        raise ValueError(f"method.rules: {other} and {name} both prune {weight} in epoch {epoch}")

    def check_network(self, net: nn.Module, masks: Masks, image_shape: tuple[int, int, int]) -> None:
        """Raise ValueError for rules that name only some of coupled layers, or whose unit a weight does not have."""
        coupled = self._coupled(net, image_shape)
        for name in self.rules:
            self._find_groups(name, masks, coupled)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        returning = [name for name, rule in self.rules.items() if rule.pruner is not None and rule.pruner.returns]
        if returning and not hasattr(pl_module, "effective"):
            raise ValueError(f"weights return by {returning}: that needs the module SplicedWeights (method=surgery)")
        coupled = self._coupled(pl_module.net, image_shape_of(trainer.datamodule))
        self._groups = {name: self._find_groups(name, pl_module.masks, coupled) for name in self.rules}
        pl_module.events = self.events

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        epoch = trainer.current_epoch
        for name, firings in self.firings.items():
            if epoch in firings.epochs:
                data = pl_module.scoring_data(self.seed)
                self._fire(pl_module, name, epoch, data)

    def after_step(self, trainer: Trainer, pl_module: LightningModule, step: int) -> None:
        for name, rule in self.rules.items():
            due = rule.timing.minibatches and step % rule.timing.minibatches == 0
            if due and self.measured[name] and self.firings[name].within(trainer.current_epoch):
                pl_module.to_average_()
                self._prune_elements(pl_module, name, trainer.current_epoch)
                pl_module.remask_()

    def _fire(self, module: LightningModule, name: str, epoch: int, data: ScoringData) -> None:
        """Apply a rule to the masks of `module`, and record the event for events.csv."""
        removal = self.rules[name].removal
        if removal is None:
            self._prune_elements(module, name, epoch)
        else:
            self._prune_units(module, name, epoch, data)
        broadcast_(list(module.masks.values()))
        module.remask_()
        groups = self._groups[name]
        row: dict[str, Any] = {"epoch": epoch, "event": name}
        if removal is not None:
            row["unit_density"] = removal.density(self.firings[name].progress(epoch))
            row["units"] = sum(group.n_units for group in groups)
            row["units_removed"] = sum(int(group.removed(module.masks).sum()) for group in groups)
        self.events.append(row | {"kept": module.masks.kept})

    def _prune_units(self, module: LightningModule, name: str, epoch: int, data: ScoringData) -> None:
        rule, groups, state = self.rules[name], self._groups[name], self.measured[name]
        if "gone" not in state:  # units of each group that were removed before the rule first fired
            state["gone"] = [int(group.removed(module.masks).sum()) for group in groups]
        scores = rule.ranking.scores(module.net, module.masks, groups, data, self.seed)
        assert rule.removal is not None
        progress = self.firings[name].progress(epoch)
        module.masks.copy_(rule.removal.prune(module.masks, groups, scores, progress, state["gone"]))

    @torch.no_grad()
    def _prune_elements(self, module: LightningModule, name: str, epoch: int) -> None:
        rule, state, masks = self.rules[name], self.measured[name], module.masks
        weights = dict(zip(masks, masks.weights(module.net), strict=True))
        when = rule.timing.position(epoch, self.firings[name])
        assert rule.pruner is not None
        for weight in self._weights(name, masks):
            if weight not in state:
                state[weight] = rule.pruner.measure(weights[weight])
            args = weights[weight], masks[weight], state[weight], when, module.support[weight].to(masks[weight].device)
            masks[weight].copy_(prune_elements(rule.pruner, weight, *args))

    def _weights(self, name: str, masks: Masks) -> list[str]:
        with _naming(name):
            return self.rules[name].weights(list(masks))

    def _coupled(self, net: nn.Module, image_shape: tuple[int, int, int]) -> list[CoupledLayers]:
        return coupled_layers(net, image_shape) if any(rule.needs_coupling for rule in self.rules.values()) else []

    def _find_groups(self, name: str, masks: Masks, coupled: list[CoupledLayers]) -> list[PruningGroup]:
        rule = self.rules[name]
        with _naming(name):
            return rule.selection.groups(masks, coupled) if rule.removal is not None else []

    def state_dict(self) -> dict[str, Any]:
        return {"measured": self.measured, "events": self.events}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.measured, self.events = state_dict["measured"], state_dict["events"]


@contextmanager
def _naming(rule: str) -> Iterator[None]:
    """Put the rule's name in front of the message of a ValueError."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"method.rules.{rule}: {error}") from None
