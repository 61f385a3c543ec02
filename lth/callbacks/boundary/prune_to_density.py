"""Pruning at the start of a level."""

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from lth.callbacks.within.keep_pruned import masked_module
from lth.plan import Level
from lth.pruning import Masks, prune
from lth.pruning.allocation import Allocation, count_kept
from lth.pruning.criterion import ALLOCATION_TAKES, CRITERION_TAKES, Criterion, check_takes
from lth.pruning.position import Placement, by_score
from lth.pruning.repair import Repair, no_repair
from lth.training.ranks import assert_same, broadcast_


class Prune(Callback):
    """Prunes the network to the density of the level before the level is trained (in `on_fit_start`).

    level: the level being trained
    criterion: scores the weights; those with the largest scores are kept
    allocation: how many weights each layer keeps
    rounds: number of times that weights are scored and pruned on the way to the density
    placement: may move each layer's kept weights elsewhere in the layer
    repair: may swap weights so that no unit is left without inputs or outputs
    exact: False accepts an allocation that misses the number of weights (`as_published`)
    seed: the pruning seed
    density: fraction of prunable weights kept; None = the level's density

    The module is one of lth, or the Trainer has the callback `KeepPruned`; otherwise ValueError is raised.
    Does nothing when a level resumes, because the checkpoint holds the masks. The module sets pruned weights to zero
    later, after `Rewind` has restored them.
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

    def check(self, support: Masks) -> None:
        """Raise ValueError where the allocation cannot give this density inside `support`, whatever the scores."""
        scores = {name: torch.where(mask.bool(), 0.0, -torch.inf) for name, mask in support.items()}
        counts = self.allocation(scores, self.density)
        target = count_kept(self.density, support.total)
        if self.exact and sum(counts.values()) != target:
            raise ValueError(
                f"the allocation kept {sum(counts.values())} weights at density {self.density}, not {target} "
                "(method.exact=false accepts it)"
            )

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.ckpt_path:
            return
        module = masked_module(trainer, pl_module)
        net, masks = module.net, module.masks
        new = prune(
            net,
            masks,
            self.density,
            self.criterion,
            self.allocation,
            module.scoring_data(self.seed),
            rounds=self.rounds,
            placement=self.placement,
            seed=self.seed,
            exact=self.exact,
        )
        if new.digest() != masks.digest():  # a level that prunes nothing has nothing to repair
            new = self.repair(net, new, self.seed)
        broadcast_(list(new.values()))
        masks.copy_(new)
        assert_same("masks after pruning", masks.digest())
