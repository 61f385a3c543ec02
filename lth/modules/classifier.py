"""What all methods share when they train a classifier: loss, metrics, optimizer and the learning rate of each step."""

from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from lth.plan import Level
from lth.pruning import Masks
from lth.pruning.seeds import derive
from lth.training.metrics import TrainingMetrics
from lth.training.mixup import mix
from lth.training.recipe import Recipe
from lth.training.schedules import Clocks
from lth.training.step_closure import StepClosure

Batch = tuple[Tensor, Tensor]


class Classifier(pl.LightningModule):
    """One level of training of `net`, as the recipe says; `masks` cover its prunable weights.

    support: masks in which a method that lets weights come back has to stay. classes: how many the metrics tell apart.
    seed: the data seed, from which dropout and mixup draw.
    """

    def __init__(
        self, net: nn.Module, masks: Masks, support: Masks, recipe: Recipe, level: Level, classes: int, seed: int = 0
    ):
        super().__init__()
        self.net, self.masks, self.support, self.recipe = net, masks, support, recipe
        self.level, self.seed = level, seed
        self.clock = Clocks(
            recipe.schedule,
            level.budget.schedules or (level.budget.horizon,),
            level.budget.epoch,
            recipe.schedule_every,
            recipe.schedule_late,
            skip_warmup=recipe.cycles.skip_warmup,
        )
        begins = () if level.hold or recipe.cycles.optimizer == "keep" else self.clock.starts
        self._fresh_at = frozenset(start - level.first_step for start in begins if start > level.first_step)
        self.training_metrics, self.closure = TrainingMetrics(), StepClosure(net)
        self.evaluation = nn.ModuleDict({stage: _evaluation(stage, classes) for stage in ("val", "test")})
        self.validated: dict[str, float] = {}  # what the last validation and the last test measured
        self.tested: dict[str, float] = {}
        self.draw: Callable[[int], nn.Module] | None = None  # seed -> the network with initial weights drawn from it
        self.scores_of_ticket: dict[str, Tensor] | None = None  # where a search found the masks this level trains
        self.events: list[dict[str, Any]] = []  # what happened within the level, for events.csv
        self._summary: dict[str, float] = {}

    def __setattr__(self, name: str, value: Any) -> None:
        # Lightning notes the running hook some 44 times a step, and nn.Module's bookkeeping would cost 3 µs each
        if name == "_current_fx_name":
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def load_previous(self, before: dict[str, Any] | None) -> None:
        """Take over, or draw, what is trained besides the network. before: the checkpoint of the level before."""

    def finalize_(self) -> None:
        """Leave in network and masks what was found, once a level is trained. Nothing where they already hold it."""

    def final_weights(self) -> dict[str, Tensor]:
        """The weights a next level begins with, where they are not the network's own (name -> tensor)."""
        return {}

    def current_masks(self) -> dict[str, Tensor]:
        """Which prunable weights the network uses at this moment: bool tensors by name."""
        return self.masks.bools()

    def of_layers(self) -> dict[str, list[float]]:
        """Further numbers for the topology table, one a prunable layer (column -> values); none here."""
        return {}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.recipe.build(self.net, set(self.masks))

    def to_average_(self) -> None:
        """Put the weights where they are evaluated, scored and saved: for an optimizer that averages them, its average.

        The next training batch puts them back where their gradients are taken.
        """
        if self.recipe.averages:
            self.trainer.optimizers[0].eval()

    def to_training_(self) -> None:
        """Put the weights where their gradients are taken."""
        if self.recipe.averages:
            self.trainer.optimizers[0].train()

    def factor(self, step: int) -> float:
        """The factor on the base learning rate at optimizer step `step` of this level."""
        return self.clock(self.level.first_step + (0 if self.level.hold else step))

    def cycle(self, step: int) -> int | None:
        """Which of the level's cycles optimizer step `step` belongs to, from 0; None where it has but one."""
        return self.clock.at(self.level.first_step + step) if len(self.clock.starts) > 1 else None

    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
        step = self.trainer.global_step
        if step in self._fresh_at:  # a function of the step, so that a resumed level needs to remember nothing
            self._renew_optimizer()
        lr = self.recipe.lr * self.factor(step)
        for group in optimizer.param_groups:
            group["lr"] = lr
        super().optimizer_step(epoch, batch_idx, optimizer, self.closure.wrap(optimizer_closure))

    def _renew_optimizer(self) -> None:
        self.to_average_()
        self.trainer.optimizers[0].load_state_dict(self.configure_optimizers().state_dict())
        self.to_training_()

    def on_train_epoch_start(self) -> None:
        # dropout must not depend on what was drawn before: a resumed epoch draws what the interrupted one drew
        torch.manual_seed(derive("forward", self.seed, self.level.stream, self.current_epoch, self.global_rank))
        self.training_metrics.reset(self.device)
        self._summary = {}

    def training_step(self, batch: Batch, index: int) -> Tensor:
        x, labels = batch
        if self.recipe.mixup:
            key = ("batch", self.seed, self.level.stream, self.current_epoch, index, self.global_rank)
            x, partner, lam = mix(x, self.recipe.mixup, *key)
            logits = self(x)
            loss = lam * self.loss(logits, labels) + (1 - lam) * self.loss(logits, labels[partner])
        else:
            logits = self(x)
            loss = self.loss(logits, labels)
        if self.closure.first_pass:
            self.training_metrics.update(loss, logits, labels)
        return loss

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy, label smoothing included."""
        return cross_entropy(logits, labels, label_smoothing=self.recipe.label_smoothing)

    def summary(self) -> dict[str, float]:
        """Training and validation metrics of the epoch that just ended (0..1); synchronises with the device.

        Empty when this process has not trained the epoch: Lightning calls `on_train_epoch_end` once more after
        resuming from a checkpoint that was written in it.
        """
        if not self.training_metrics.count:
            return {}
        if "train_loss" not in self._summary:
            self._summary |= self.training_metrics.read()
        return self._summary

    def validation_step(self, batch: Batch, index: int) -> None:
        self._evaluate("val", batch)

    def on_validation_epoch_end(self) -> None:
        self.validated = self._measured("val")
        self._summary |= self.validated

    def test_step(self, batch: Batch, index: int) -> None:
        self._evaluate("test", batch)

    def on_test_epoch_end(self) -> None:
        self.tested = self._measured("test")

    def _evaluate(self, stage: str, batch: Batch) -> None:
        x, labels = batch
        logits = self(x).float()
        metrics = self.evaluation[stage]
        # one value a sample: without its check for NaN, torchmetrics forgets the weights that batches are given
        metrics[f"{stage}_loss"].update(cross_entropy(logits, labels, reduction="none"))
        for name in (f"{stage}_accuracy", f"{stage}_top5"):
            metrics[name].update(logits, labels)

    def _measured(self, stage: str) -> dict[str, float]:
        metrics = self.evaluation[stage]
        # float32 has seven digits; more would print as 0.9700000286
        values = {name: round(float(value), 7) for name, value in metrics.compute().items()}
        metrics.reset()
        return values


def _evaluation(stage: str, classes: int) -> MetricCollection:
    def accuracy(top: int) -> MulticlassAccuracy:
        return MulticlassAccuracy(classes, top_k=min(top, classes), average="micro", validate_args=False)

    metrics = {"loss": MeanMetric(nan_strategy="disable"), "accuracy": accuracy(1), "top5": accuracy(5)}
    return MetricCollection({f"{stage}_{name}": m for name, m in metrics.items()}, compute_groups=False)
