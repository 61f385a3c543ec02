"""Pruning by a schedule of rules: WHAT loses parts, apart from WHEN, within one level (Distiller's schedules)."""

from collections.abc import Mapping
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import nn

from lth.datamodules.scoring import ScoringData, image_shape_of
from lth.plan import Level
from lth.pruning import Masks
from lth.pruning.structured.coupling import Coupled, coupled
from lth.pruning.structured.groups import Together, removed
from lth.pruning.structured.rule import Rule
from lth.pruning.structured.thresholds import prune_elements
from lth.training.ranks import broadcast_


class Scheduled(Callback):
    """Fires its rules at the starts of epochs, in their order; pruners also between optimizer steps, if asked.

    rules: name -> the options of a `Rule`; null leaves one out. seed: the pruning seed. Parts that are gone stay gone;
    masks hold in epochs without a firing too, as the module sees to. What a rule measured at its first firing is in
    the checkpoint.
    """

    def __init__(self, level: Level, rules: Mapping[str, Mapping[str, Any]], seed: int = 0):
        rules = {name: options for name, options in rules.items() if options is not None}
        if not rules:
            raise ValueError("a schedule needs rules: method.rules={<name>: {names: [...], end: ..., at: [...]}}")
        self.level, self.seed = level, seed
        self.epochs = -(-level.steps // level.budget.epoch)
        self.rules: dict[str, Rule] = {}
        for name, options in rules.items():
            try:
                self.rules[name] = Rule.of(options)
                self.rules[name].firings(self.epochs)
            except ValueError as error:
                raise ValueError(f"method.rules.{name}: {error}") from None
        self.firings = {name: rule.firings(self.epochs) for name, rule in self.rules.items()}
        self.measured: dict[str, dict[str, Any]] = {name: {} for name in self.rules}
        self.events: list[dict[str, Any]] = []
        self._groups: dict[str, list[Together]] = {}
        self._step = 0

    def check(self, support: Masks) -> None:
        """Raise ValueError for rules that name unknown weights, or the same parts at the same time."""
        taken: dict[tuple[str, Any, int], str] = {}
        for name, rule in self.rules.items():
            for weight in self._chosen(name, support):
                for epoch in self.firings[name].epochs:
                    other = taken.setdefault((weight, rule.unit if rule.pruner is None else "elements", epoch), name)
                    if other != name:
                        raise ValueError(f"method.rules: {other} and {name} both prune {weight} in epoch {epoch}")

    def check_network(self, net: nn.Module, masks: Masks, image_shape: tuple[int, int, int]) -> None:
        """Raise ValueError for rules that leave out some of the layers that share outputs, or that divide what cannot
        be divided so."""
        sets = self._sets(net, image_shape)
        for name in self.rules:
            self._grouped(name, masks, sets)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        returning = [name for name, rule in self.rules.items() if rule.pruner is not None and rule.pruner.returns]
        if returning and not hasattr(pl_module, "effective"):
            raise ValueError(f"weights return by {returning}: that needs the module SplicedWeights (method=surgery)")
        sets = self._sets(pl_module.net, image_shape_of(trainer.datamodule))
        self._groups = {name: self._grouped(name, pl_module.masks, sets) for name in self.rules}
        pl_module.events = self.events

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._step = trainer.global_step

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        epoch = trainer.current_epoch
        for name, firings in self.firings.items():
            if epoch in firings.epochs:
                data = ScoringData(trainer.datamodule, self.seed, self.level.index, pl_module.device, pl_module.dtype)
                self.fire_(pl_module, name, epoch, data)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if trainer.global_step == self._step:
            return  # a batch that only accumulates
        self._step = trainer.global_step
        for name, rule in self.rules.items():
            due = rule.minibatches and self._step % rule.minibatches == 0
            if due and self.measured[name] and self.firings[name].within(trainer.current_epoch):
                pl_module.to_average_()
                self._prune_elements(pl_module, name, trainer.current_epoch)
                pl_module.remask_()

    def fire_(self, module: LightningModule, name: str, epoch: int, data: Any) -> None:
        """Let the rule `name` act on the masks of `module` at the start of `epoch`, and write down what it did."""
        if self.rules[name].pruner is None:
            self._remove(module, name, epoch, data)
        else:
            self._prune_elements(module, name, epoch)
        broadcast_(list(module.masks.values()))
        module.remask_()
        groups = self._groups[name]
        row: dict[str, Any] = {"epoch": epoch, "event": name}
        if self.rules[name].pruner is None:
            row["unit_density"] = self.rules[name].density(self.firings[name].progress(epoch))
            row["units"] = sum(group.units for group in groups)
            row["units_removed"] = sum(int(removed(module.masks, group).sum()) for group in groups)
        self.events.append(row | {"kept": module.masks.kept})

    def _remove(self, module: LightningModule, name: str, epoch: int, data: Any) -> None:
        rule, groups, state = self.rules[name], self._groups[name], self.measured[name]
        if "gone" not in state:
            state["gone"] = [int(removed(module.masks, group).sum()) for group in groups]
        scores = rule.rank(module.net, module.masks, groups, data, self.seed)
        progress = self.firings[name].progress(epoch)
        module.masks.copy_(rule.remove(module.masks, groups, scores, progress, state["gone"]))

    @torch.no_grad()
    def _prune_elements(self, module: LightningModule, name: str, epoch: int) -> None:
        rule, state, masks = self.rules[name], self.measured[name], module.masks
        weights = dict(zip(masks, masks.weights(module.net), strict=True))
        when = rule.moment(epoch, self.firings[name])
        assert rule.pruner is not None
        for weight in self._chosen(name, masks):
            if weight not in state:
                state[weight] = rule.pruner.measure(weights[weight])
            args = weights[weight], masks[weight], state[weight], when, module.support[weight].to(masks[weight].device)
            masks[weight].copy_(prune_elements(rule.pruner, weight, *args))

    def _chosen(self, name: str, masks: Masks) -> list[str]:
        try:
            return self.rules[name].chosen(list(masks))
        except ValueError as error:
            raise ValueError(f"method.rules.{name}: {error}") from None

    def _sets(self, net: nn.Module, image_shape: tuple[int, int, int]) -> list[Coupled]:
        return coupled(net, image_shape) if any(rule.joins for rule in self.rules.values()) else []

    def _grouped(self, name: str, masks: Masks, sets: list[Coupled]) -> list[Together]:
        rule = self.rules[name]
        try:
            return rule.groups(masks, sets) if rule.pruner is None else []
        except ValueError as error:
            raise ValueError(f"method.rules.{name}: {error}") from None

    def state_dict(self) -> dict[str, Any]:
        return {"measured": self.measured, "events": self.events}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.measured, self.events = state_dict["measured"], state_dict["events"]
