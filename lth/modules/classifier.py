"""The base of all LightningModules: loss, metrics, optimizer, and the learning rate of each step."""

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from lth.datamodules.scoring import ScoringData
from lth.modules._metrics import EvaluationMetrics, TrainingMetrics
from lth.plan import Level
from lth.pruning import Masks
from lth.pruning.seeds import derive
from lth.training.recipe import Recipe
from lth.training.step_closure import StepClosure

Batch = tuple[Tensor, Tensor]


class Classifier(pl.LightningModule):
    """Trains `net` for one level.

    net: the network, without masks in it
    masks: masks of its prunable weights, changed in place
    support: the masks that the first level starts from; weights may grow outside of them unless `method.constrain=true`
    recipe: optimizer, schedule and regularisation
    level: length and density of the training
    classes: number of classes
    seed: the data seed, for dropout and mixup
    """

    ignores: ClassVar[tuple[str, ...]] = ()  # fields of the recipe that the module does not read
    acts_with: ClassVar[dict[str, str]] = {}  # argument -> the one it needs; no effect if that is null or false

    def __init__(
        self, net: nn.Module, masks: Masks, support: Masks, recipe: Recipe, level: Level, classes: int, seed: int = 0
    ):
        super().__init__()
        self.net, self.masks, self.support, self.recipe, self.level = net, masks, support, recipe, level
        self.clock, self.seed = recipe.clocks(level.budget), seed
        cycle_starts = () if level.hold or recipe.cycles.optimizer == "keep" else self.clock.starts
        self._fresh_at = frozenset(start - level.first_step for start in cycle_starts if start > level.first_step)
        self.training_metrics, self.closure = TrainingMetrics(), StepClosure(net)
        self.evaluation = nn.ModuleDict({stage: EvaluationMetrics(stage, classes) for stage in ("val", "test")})
        self.validation_metrics, self.test_metrics = dict[str, float](), dict[str, float]()  # of the last pass
        self.draw: Callable[[int], nn.Module] | None = None  # seed -> a network with initial weights
        self.missing_weights = ""  # the file with the weights of pruned places, where the ticket at hand lacks them
        self.scores_of_ticket: dict[str, Tensor] | None = None  # of the search that found the masks, if one did
        self.events: list[dict[str, Any]] = []  # rows of events.csv
        self._summary: dict[str, float] = {}

    def __setattr__(self, name: str, value: Any) -> None:
        # Lightning sets this about 44 times a step; nn.Module's bookkeeping would cost 3 µs each time
        if name == "_current_fx_name":
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def load_previous(self, before: dict[str, Any] | None) -> None:
        """Load or draw what is trained besides the network (scores), once the network has its starting weights.

        before: the checkpoint of the level before; None for the first level
        """

    def finalize_(self) -> None:
        """After training, write the final masks and weights into `masks` and `net`; a no-op if they are there."""

    def final_weights(self) -> dict[str, Tensor]:
        """Those weights of the next level's start that differ from the network's parameters (name -> tensor)."""
        return {}

    def current_masks(self) -> dict[str, Tensor]:
        """The bool masks that the network uses at this moment (name of the prunable weight -> tensor)."""
        return self.masks.bools()

    def layer_columns(self) -> dict[str, list[float]]:
        """Further columns of the topology table (column -> one number for each prunable layer)."""
        return {}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        # without a scheduler: `optimizer_step` sets the learning rate, so that it depends on the step alone
        return self.recipe.build(self.net, set(self.masks))

    def scoring_data(self, seed: int) -> ScoringData:
        """The training data for a criterion, in an order fixed by the seed and the level."""
        return ScoringData(self.trainer.datamodule, seed, self.level.index, self.device, self.dtype)

    def to_average_(self) -> None:
        """Put a schedule-free optimizer into eval mode until the next batch: the weights become its average."""
        if self.recipe.averages:
            self.trainer.optimizers[0].eval()

    def to_training_(self) -> None:
        """Switch a schedule-free optimizer to train mode: the weights become the points where it takes gradients."""
        if self.recipe.averages:
            self.trainer.optimizers[0].train()

    def factor(self, step: int) -> float:
        """The factor on the base learning rate at optimizer step `step` of this level."""
        return self.clock(self.level.first_step + (0 if self.level.hold else step))

    def cycle(self, step: int) -> int | None:
        """The 0-based cycle of the level that contains optimizer step `step`; None if it has one cycle."""
        return self.clock.at(self.level.first_step + step) if len(self.clock.starts) > 1 else None

    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
        step = self.trainer.global_step
        if step in self._fresh_at:  # depends on the step alone, so that a resumed level needs no further state
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
        # a resumed epoch must draw the same dropout masks as the interrupted one
        _seed(self.device, derive("forward", self.seed, self.level.stream, self.current_epoch, self.global_rank))
        self.training_metrics.reset(self.device)
        self._summary = {}

    def training_step(self, batch: Batch, index: int) -> Tensor:
        x, labels = batch
        if self.recipe.mixup:
            key = ("batch", self.seed, self.level.stream, self.current_epoch, index, self.global_rank)
            x, partner, lam = _mix(x, self.recipe.mixup, *key)
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
        """Training and validation metrics of the epoch that just ended, accuracies 0..1. Synchronises with the device.

        Empty where this process has not trained the epoch: Lightning calls `on_train_epoch_end` again after a resume.
        """
        if not self.training_metrics.count:
            return {}
        if "train_loss" not in self._summary:
            self._summary |= self.training_metrics.read()
        return self._summary

    def validation_step(self, batch: Batch, index: int) -> None:
        self.evaluation["val"].update(self(batch[0]), batch[1])

    def on_validation_epoch_end(self) -> None:
        self.validation_metrics = self.evaluation["val"].read()
        self._summary |= self.validation_metrics

    def test_step(self, batch: Batch, index: int) -> None:
        self.evaluation["test"].update(self(batch[0]), batch[1])

    def on_test_epoch_end(self) -> None:
        self.test_metrics = self.evaluation["test"].read()


def _seed(device: torch.device, seed: int) -> None:
    """Seed the random numbers of a device and of the CPU.

    torch.manual_seed also seeds devices that are not in use, which takes as long as a step of a small network.
    """
    (torch.default_generator if device.type == "cpu" else torch).manual_seed(seed)


def _mix(x: Tensor, alpha: float, *key: int | str) -> tuple[Tensor, Tensor, float]:
    """Mixup: lam * x + (1 - lam) * x[partner], one lam ~ Beta(alpha, alpha) for the batch (arXiv 1710.09412).

    Returns the mixed images, the partners' indices within the batch, and lam; draws from the random stream `key`.
    """
    draw = np.random.Generator(np.random.Philox(derive("mixup", *key)))
    lam = float(draw.beta(alpha, alpha))
    partner = torch.from_numpy(draw.permutation(len(x))).to(x.device, non_blocking=True)
    return lam * x + (1 - lam) * x[partner], partner, lam
