"""STR: soft thresholds are learned together with the weights (Kusupati et al., ICML 2020, arXiv 2002.03231)."""

import logging
from typing import Any

import torch
from torch import Tensor, nn

from lth.modules._effective_weights import EffectiveWeights
from lth.modules._shrinkage import LINKS, epoch_of_threshold, shift_of_thresholds, soft_threshold
from lth.plan.level import steps_of
from lth.pruning.allocation import count_kept
from lth.pruning.masks import zero_
from lth.pruning.paths import Path, cubic
from lth.pruning.topk import largest

log = logging.getLogger(__name__)
_SCOPES = ("layer", "global")


class SoftThreshold(EffectiveWeights):
    """Trains weights w and thresholds g(s); the network computes with sign(w) * max(|w| - g(s), 0).

    If the level's density is below the support's, the density is controlled: all s are shifted together so that the
    density follows a path. Otherwise the density results from `start` and `decay`.

    args, kwargs: arguments of `Classifier`
    start: initial s
    decay: weight decay on s; None = the recipe's
    link: g, `sigmoid` or `exp`
    scope: one s for each `layer`, or one `global` s
    every: distance between corrections of s, if the density is controlled: optimizer steps, "1ep" or "2%"
    end: fraction of the level, over 0, at which the path reaches the level's density
    path: density as a function of progress (`lth.pruning.paths`)
    trim: whether the smallest weights beyond the level's number are removed at its end, if the density is controlled

    Raises ValueError if `link` or `scope` is unknown, or if `every` is less than one optimizer step.
    """

    def __init__(
        self,
        *args: Any,
        start: float = -200.0,
        decay: float | None = None,
        link: str = "sigmoid",
        scope: str = "layer",
        every: int | str = "1%",
        end: float = 0.75,
        path: Path = cubic,
        trim: bool = False,
        **kwargs: Any,
    ):
        super().__init__(*args, **kwargs)
        for key, value, valid in (("link", link, tuple(LINKS)), ("scope", scope, _SCOPES)):
            if value not in valid:
                raise ValueError(f"method.{key}={value!r} is not one of {valid}")
        self.link, self.decay, self.end, self.path, self.trim = link, decay, end, path, trim
        self.every = steps_of(every, self.level.budget, distance=True) or 0
        if self.every < 1:
            raise ValueError(f"method.every={every!r} must be one optimizer step or more")
        count = len(self.masks) if scope == "layer" else 1
        self.s = nn.Parameter(torch.full((count,), float(start)))
        self.controlled = count_kept(self.level.density, self.masks.total) < self.support.kept
        if not self.controlled:
            self._warn_without_pruning(float(start))

    def effective(self) -> dict[str, Tensor]:
        """The prunable weights, shrunk by their thresholds (name -> tensor)."""
        thresholds = self.thresholds()
        weights = self.masks.weights(self.net)
        return {name: soft_threshold(w, g) for name, w, g in zip(self.masks, weights, thresholds, strict=True)}

    def thresholds(self) -> tuple[Tensor, ...]:
        """The threshold g(s) of each prunable layer."""
        return LINKS[self.link](self.s).expand(len(self.masks)).unbind()

    def final_weights(self) -> dict[str, Tensor]:
        """The shrunk weights under the final masks (name -> tensor)."""
        masks = self.final_masks()
        return {name: torch.where(masks[name], weight, 0) for name, weight in self._detached().items()}

    def final_masks(self) -> dict[str, Tensor]:
        """The weights over their thresholds; at the end of a level with `trim`, the largest of them alone."""
        masks, target = super().final_masks(), count_kept(self.level.density, self.masks.total)
        over = sum(int(torch.count_nonzero(mask)) for mask in masks.values()) > target
        if self.trim and self.controlled and over and self.trainer.global_step >= self.level.steps:
            return largest({name: weight.abs() for name, weight in self._detached().items()}, target)
        return masks

    def layer_columns(self) -> dict[str, list[float]]:
        """The threshold of each prunable layer, as a column of the topology table."""
        with torch.no_grad():
            return {"threshold": [float(g) for g in self.thresholds()]}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        optimizer = super().configure_optimizers()
        decay = self.recipe.weight_decay if self.decay is None else self.decay
        optimizer.add_param_group({"params": [self.s], "weight_decay": decay})
        return optimizer

    def on_fit_start(self) -> None:
        # weights outside the masks start at zero and stay there, since the gradient of `soft_threshold` at zero is zero
        zero_(self.masks.weights(self.net), list(self.masks.values()))

    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        step = self.trainer.global_step + 1  # Lightning increases global_step after this hook
        if self.controlled and (step % self.every == 0 or step == self.level.steps):
            self._correct(step / (self.end * self.level.steps))

    @torch.no_grad()
    def _correct(self, progress: float) -> None:
        """Shift all s so that the density is that of the path at `progress` (0 at the start, over 1 after `end`)."""
        density = self.path(progress, self.support.density, self.level.density)
        kept = count_kept(density, self.masks.total)
        if kept < self.support.kept:
            self.s += shift_of_thresholds(self.masks.weights(self.net), self.s, self.link, kept)

    def _warn_without_pruning(self, start: float) -> None:
        """Log the epoch in which weight decay alone lifts the thresholds over 1e-3; warn if it never does."""
        decay = self.recipe.weight_decay if self.decay is None else self.decay
        momentum = getattr(self.recipe.optimizer, "keywords", {}).get("momentum", 0.0)
        if self.link != "sigmoid" or start > -20:
            return
        budget = self.level.budget
        epoch = epoch_of_threshold(
            start, decay, momentum, lambda step: self.recipe.lr * self.factor(step), self.level.steps, budget.epoch
        )
        if epoch is None:
            log.warning(
                "STR: with s = %g, weight decay %g on it and this schedule no threshold ever reaches 1e-3: "
                "nothing will be pruned. Raise method.decay, recipe.lr or method.start",
                start,
                decay,
            )
        else:
            log.info("STR: weight decay alone lifts the thresholds over 1e-3 in epoch %d", epoch)
