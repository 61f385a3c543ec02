"""Pruning at the start of a level."""

from functools import partial
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from lth.callbacks.within.keep_pruned import masked_module
from lth.plan import Level
from lth.pruning import Masks, prune
from lth.pruning.allocation import Allocation, count_kept
from lth.pruning.criteria import random
from lth.pruning.criterion import ALLOCATION_TAKES, CRITERION_TAKES, Criterion, check_takes
from lth.pruning.position import Placement, bernoulli, by_score, shuffled
from lth.pruning.repair import Repair, no_repair
from lth.training.ranks import assert_same, broadcast_

_RANDOM = (bernoulli, shuffled)  # placements that use no scores


class Prune(Callback):
    """Prunes the network to the density of the level before the level is trained (in `on_fit_start`).

    level: the level being trained
    criterion: scores the weights; those with the largest scores are kept
    allocation: how many weights each layer keeps
    rounds: number of times that weights are scored and pruned on the way to the density
    placement: may move each layer's kept weights elsewhere in the layer
    repair: may swap weights so that no unit is left without inputs or outputs
    exact: False accepts an allocation that misses the number of weights, as some published formulas do
    seed: the pruning seed
    density: fraction of prunable weights kept; None = the level's density

    Raises ValueError if the module does not apply masks and the Trainer has no callback `KeepPruned`.
    Does nothing when a level resumes, because the checkpoint holds the masks. The module sets pruned weights to zero
    later, after `Rewind` has restored the weights.
    """

    def __init__(
        self,
        level: Level,
        criterion: Criterion,
        allocation: Allocation,
        rounds: int = 1,
        placement: Placement = by_score,
        repair: Repair = no_repair,
        exact: bool = True,
        seed: int = 0,
        density: float | None = None,
    ):
        check_takes("criterion", criterion, CRITERION_TAKES)
        check_takes("allocation", allocation, ALLOCATION_TAKES)
        self.density = level.density if density is None else density
        self.level, self.criterion, self.allocation = level, criterion, allocation
        self.rounds, self.placement, self.repair, self.exact, self.seed = rounds, placement, repair, exact, seed

    def check(self, before: Masks) -> Masks:
        """Raise ValueError where the allocation cannot give this density inside `before`, whatever the scores.

        before: masks of the level before, or the support

        Returns masks with the number of weights that each layer keeps, or `before` if the numbers depend on scores. The
        next level is checked inside them, so that an impossible ladder is refused before its first level.
        """
        (counts, fixed), target = self._counts(before), count_kept(self.density, before.total)
        if self.exact and sum(counts.values()) != target:
            raise ValueError(
                f"the allocation kept {sum(counts.values())} weights at density {self.density}, not {target} "
                "(method.exact=false accepts it)"
            )
        room = before.kept_by_layer()
        if short := [name for name, count in counts.items() if count > room[name]]:
            raise ValueError(
                f"the allocation asks {short[0]} for {counts[short[0]]} weights at density {self.density}, "
                f"where the level before leaves {room[short[0]]}"
            )
        if self.density == 1 or not fixed:
            return before
        return before.clone().copy_({name: _first(mask, counts[name]) for name, mask in before.items()})

    def check_data(self, data: Any) -> None:
        """Raise ValueError if a class of the dataset `data` has fewer samples than the criterion reads per class."""
        wanted = getattr(self.criterion, "keywords", {}).get("samples_per_class")
        if wanted is not None:
            data.check_per_class(wanted)

    def _counts(self, masks: Masks) -> tuple[dict[str, int], bool]:
        """How many weights each layer keeps if all scores are equal, and whether other scores give the same numbers."""
        scores = {name: torch.where(mask.bool(), 0.0, -torch.inf) for name, mask in masks.items()}
        counts = self.allocation(scores, self.density)
        return counts, self.allocation(_others(scores), self.density) == counts

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.ckpt_path:
            return
        module = masked_module(trainer, pl_module)
        net, masks = module.net, module.masks
        # scores that decide neither counts nor places need not be computed
        free = getattr(self.placement, "func", self.placement) in _RANDOM and self._counts(masks)[1]
        new = prune(
            net,
            masks,
            self.density,
            random if free else self.criterion,
            self.allocation,
            module.scoring_data(self.seed),
            rounds=1 if free else self.rounds,
            placement=partial(self.placement, seed=self.seed),
            exact=self.exact,
        )
        if new.digest() != masks.digest():  # a level that prunes nothing has nothing to repair
            new = self.repair(net, new, self.seed)
        broadcast_(list(new.values()))
        masks.copy_(new)
        assert_same("masks after pruning", masks.digest())


def _others(scores: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Scores that rank whole layers, which show whether the counts of an allocation depend on the scores."""
    return {name: torch.where(score == 0, float(i), score) for i, (name, score) in enumerate(scores.items(), start=1)}


def _first(mask: torch.Tensor, count: int) -> torch.Tensor:
    """The first `count` weights that a mask keeps."""
    kept = mask.flatten().bool()
    return (kept & (kept.cumsum(0) <= count)).view(mask.shape)
