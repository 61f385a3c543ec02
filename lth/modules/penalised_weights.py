"""Training with a penalty that drives whole units to zero: group lasso (SSL), network slimming."""

import logging
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lth.modules._penalty import MEASURES, mask_weak, mask_weakest, penalty, penalty_groups
from lth.modules.kept_weights import KeptWeights
from lth.pruning.allocation import count_kept
from lth.pruning.masks import Masks
from lth.pruning.structured.penalty import PenaltyTerm
from lth.training.ranks import assert_same

_log = logging.getLogger(__name__)


class PenalisedWeights(KeptWeights):
    """Adds a penalty to the loss and, at the end of the level, masks the units that have become weak.

    A penalty alone leaves small weights, not zeros, so the threshold is a separate setting. Masking follows the level's
    last optimizer step, so that the last validation and the test evaluate the masked network.
    If the level's density is below the support's, the weakest units are masked, the same share in every layer, as long
    as at least the level's number of weights is kept.
    Raises ValueError for an invalid threshold or measure, a threshold together with a density, units that no mask
    covers, and a density that the units cannot reach.

    args, kwargs: arguments of `Classifier`
    terms: name -> term, see `lth.pruning.structured.penalty`; None leaves a term out
    mask_below: units with a smaller measure are masked; None = no threshold
    measure: `mean_abs` or `max` of the absolute values of a unit
    """

    reads_weights = True

    def __init__(
        self,
        *args: Any,
        terms: Mapping[str, PenaltyTerm | None],
        mask_below: float | None = None,
        measure: str = "mean_abs",
        **kwargs: Any,
    ):
        super().__init__(*args, **kwargs)
        if mask_below is not None and not mask_below > 0:
            raise ValueError(f"mask_below={mask_below} must be over 0, or null for no masking")
        if measure not in MEASURES:
            raise ValueError(f"measure {measure!r} is not one of {list(MEASURES)}")
        self.target = count_kept(self.level.density, self.masks.total)
        self.controlled = self.target < self.support.kept
        if self.controlled and mask_below is not None:
            raise ValueError(
                f"method.mask_below={mask_below} and sparsity.density={self.level.density} both say what is masked: "
                "set one of them to null"
            )
        self.mask_below, self.measure = mask_below, measure
        self.groups = penalty_groups(self.net, [term for term in terms.values() if term is not None])
        if mask_below is not None or self.controlled:
            self._without_weak_units()  # fail before training

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return super().loss(logits, labels) + self.penalty()

    def penalty(self) -> Tensor:
        """The penalty that is added to the loss, a differentiable scalar."""
        return penalty(dict(self.net.named_parameters()), self.groups)

    def summary(self) -> dict[str, float]:
        summary = super().summary()
        if summary and "penalty" not in summary:
            with torch.no_grad():
                summary["penalty"] = round(float(self.penalty()), 7)
        return summary

    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        step = self.trainer.global_step + 1  # Lightning counts this step after the hook
        if step == self.level.steps and (self.controlled or self.mask_below is not None):
            self._mask()

    def _mask(self) -> None:
        self.to_average_()
        before = self.masks.kept_by_layer()
        self.masks.copy_(self._without_weak_units())
        assert_same("masks after the threshold", self.masks.digest())
        self.remask_()
        kept = self.masks.kept_by_layer()
        emptied = [name for name, count in kept.items() if not count and before[name]]
        if emptied:
            _log.warning("mask_below=%s emptied whole layers: %s", self.mask_below, emptied)
        if kept == before and not self.controlled:
            _log.warning("mask_below=%s masks nothing: no unit has a smaller %s", self.mask_below, self.measure)

    def _without_weak_units(self) -> Masks:
        if self.controlled:
            return mask_weakest(self.net, self.masks, self.groups, self.target, self.measure)
        return mask_weak(self.net, self.masks, self.groups, self.mask_below or 0.0, self.measure)

    def _apply(self, fn: Any, recurse: bool = True) -> "PenalisedWeights":
        super()._apply(fn, recurse)
        self.groups = [groups.moved(fn) for groups in self.groups]
        return self
