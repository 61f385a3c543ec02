"""Levels whose masks change while they train, with every change written down."""

import copy
from dataclasses import dataclass, field
from math import floor
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from lth.callbacks import Gradual, Regrow
from lth.experiment.build import Experiment
from lth.storage.folder import RunFolder
from tests.support.harness import configuration
from tests.support.tiers import check_not_fast

MLP = ["dataset.train_size=220"]
CONV = ["model=conv2", "dataset.image_size=8", "dataset.train_size=220"]
RIGL = ["method=rigl", "method.order=after_step", "sparsity.density=0.3"]
TWENTY = ["recipe.epochs=null", "recipe.steps=24", "method.every=1", "method.stop=21"]
DOUBLE = ["recipe.precision=64-true"]  # so that sums taken in another order pick the same weights
OPTIMIZERS = {"sgd": [], "adamw": ["recipe/optimizer=adamw", "recipe.lr=0.01"]}


@dataclass
class Snapshot:
    """Weights, masks and optimizer state of the prunable layers at one moment; numbers by layer or by layer.key."""

    weights: dict[str, Tensor]
    masks: dict[str, Tensor]
    state: dict[str, Tensor]


@dataclass
class Change:
    """One update: what was before it, what after, and the gradients it was given."""

    step: int
    before: Snapshot
    after: Snapshot
    gradients: dict[str, Tensor] = field(default_factory=dict)


def snapshot(module: Any) -> Snapshot:
    weights = dict(zip(module.masks, module.masks.weights(module.net), strict=True))
    optimizer = module.trainer.optimizers[0]
    state = {
        f"{name}.{key}": value.clone()
        for name, weight in weights.items()
        for key, value in optimizer.state.get(weight, {}).items()
        if torch.is_tensor(value) and value.shape == weight.shape
    }
    return Snapshot({n: w.detach().clone() for n, w in weights.items()}, module.masks.bools(), state)


def record(monkeypatch: Any, kind: type, method: str) -> list[Change]:
    """The list to which every call of the callback's `method` adds a change from now on."""
    changes, original = [], getattr(kind, method)

    def recorded(self: Any, module: Any, step: int, *rest: Any) -> None:
        before = snapshot(module)
        gradients = {n: g.clone() for n, g in self.memory.read().items()} if kind is Regrow else {}
        original(self, module, step, *rest)
        changes.append(Change(step, before, snapshot(module), gradients))

    monkeypatch.setattr(kind, method, recorded)
    return changes


def best(score: Tensor, where: Tensor, count: int) -> Tensor:
    """The `count` largest scores among `where`, ties by index: by a plain stable sort."""
    order = torch.sort(score.masked_fill(~where, -torch.inf).flatten(), descending=True, stable=True).indices
    chosen = torch.zeros(score.numel(), dtype=torch.bool)
    chosen[order[:count]] = True
    return chosen.view(score.shape)


def expected(change: Change, scores: dict[str, Tensor], fraction: float) -> dict[str, Tensor]:
    """The masks that an update should make: magnitude drop of floor(fraction * kept) in each layer, growth by score."""
    masks = {}
    for name, kept in change.before.masks.items():
        moved = floor(fraction * int(kept.sum()) + 1e-9) if not kept.all() else 0
        stay = best(change.before.weights[name].abs(), kept, int(kept.sum()) - moved)
        masks[name] = stay | best(scores[name].abs(), ~stay, moved)
    return masks


def moves(monkeypatch: Any) -> list[Change]:
    return record(monkeypatch, Regrow, "update_")


def prunings(monkeypatch: Any) -> list[Change]:
    return record(monkeypatch, Gradual, "prune_")


def run_level(
    folder: Any, *overrides: str, watch: tuple[pl.Callback, ...] = (), last: tuple[pl.Callback, ...] = ()
) -> Experiment:
    """The first level, through the loop's own Trainer, with `watch` before all callbacks and `last` after them."""
    check_not_fast()
    built = Experiment(configuration(folder, *overrides), RunFolder(folder))
    level = built.levels[0]
    built.masks.copy_(built.support)
    module, boundary = built.build_level(level)
    trainer = built.trainer(level, [*watch, *boundary], [])
    trainer.callbacks.extend(last)
    trainer.fit(module, datamodule=built.data)
    built.module, built.callbacks = module, {type(callback).__name__: callback for callback in boundary}
    return built


class PlainGradients(pl.Callback):
    """Dense gradients of every optimizer step by the textbook: `weight * mask` in the forward pass of a copy."""

    def __init__(self) -> None:
        self.by_step: dict[int, dict[str, Tensor]] = {}

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        net, masks = copy.deepcopy(pl_module.net), pl_module.masks
        named = {name: p.detach().clone() for name, p in net.named_parameters()}
        product = {name: (named[name] * mask).requires_grad_() for name, mask in masks.items()}
        logits = torch.func.functional_call(net, named | product, (batch[0],))
        loss = pl_module.loss(logits, batch[1]) / trainer.accumulate_grad_batches
        held = self.by_step.setdefault(trainer.global_step + 1, {})
        for (name, _), gradient in zip(product.items(), torch.autograd.grad(loss, list(product.values())), strict=True):
            held[name] = held.get(name, 0) + gradient
