"""Pruning at a level's boundary."""

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from lth.datamodules.scoring import ScoringData
from lth.plan import Level
from lth.pruning import Masks, prune
from lth.pruning.allocation import Allocation, count_kept
from lth.pruning.criterion import Criterion
from lth.pruning.position import Placement, by_score
from lth.pruning.repair import Repair, no_repair
from lth.training.ranks import assert_same, broadcast_


class Prune(Callback):
    """Shrinks the module's masks to the level's density by `criterion` and `allocation`, in `on_fit_start`.

    density: what is pruned to; null = the level's. rounds: scorings on the way. placement: where in a layer its kept
    weights lie. repair: what is done for units without inputs or readers. exact: false accepts an allocation that falls
    short of the count (`as_published`). seed: the pruning seed. Does nothing when resuming inside a level: the
    checkpoint carries the masks. The weights are zeroed by the module, once rewinding has had its turn.
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
        net, masks = pl_module.net, pl_module.masks
        new = prune(
            net,
            masks,
            self.density,
            self.criterion,
            self.allocation,
            ScoringData(trainer.datamodule, self.seed, self.level.index, pl_module.device, pl_module.dtype),
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
