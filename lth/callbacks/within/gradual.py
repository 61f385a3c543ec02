"""Gradual pruning: the density falls along a path within a level, down to exactly the level's density."""

from collections.abc import Callable
from typing import Any

from pytorch_lightning import LightningModule, Trainer

from lth.callbacks._after_step import AfterStep
from lth.callbacks.within.keep_pruned import masked_module
from lth.plan import Level, Times
from lth.pruning import Masks, prune
from lth.pruning.allocation import count_kept
from lth.pruning.paths import Path, cubic
from lth.pruning.timing import PruningSteps
from lth.training.ranks import broadcast_


class Gradual(AfterStep):
    """Prunes the module's masks at intervals, down to the level's density.

    level: the level being trained
    path: the density as a function of progress (`lth.pruning.paths`)
    prune: (network, masks, density, batches=...) -> masks, with criterion, allocation and rounds of its own
    times: when weights are pruned; from `times.end` on the density is the level's
    start: density at the beginning of the path; None = that of the masks when the level starts
    as_published: leave out the last pruning, as GraNet's code does
    seed: the pruning seed

    Nothing is pruned at steps where the masks keep no more weights than the path's density allows.
    Raises ValueError when training starts at a density below the level's.
    Sources: arXiv 1710.01878 (AGP), 1902.09574 (GMP), 2106.10404 (GraNet).
    """

    reads_weights = True  # and changes masks; `SparseCompute` leaves such a level dense

    def __init__(
        self,
        level: Level,
        path: Path = cubic,
        prune: Callable[..., Masks] = prune,
        times: Times = Times(),
        start: float | None = None,
        as_published: bool = False,
        seed: int = 0,
    ):
        self.times = PruningSteps(*times.steps(level.budget), as_published)
        self.level, self.path, self.prune, self.start, self.seed = level, path, prune, start, seed

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.start is None:  # when resuming, the checkpoint has set it
            self.start = masked_module(trainer, pl_module).masks.density
        if self.start < self.level.density:
            raise ValueError(f"gradual pruning cannot rise from density {self.start} to {self.level.density}")

    def after_step(self, trainer: Trainer, pl_module: LightningModule, step: int) -> None:
        if self.times.due(step):
            module = masked_module(trainer, pl_module)
            module.to_average_()
            self.prune_(module, step, module.scoring_data(self.seed))

    def density(self, step: int) -> float:
        """The path's density after optimizer step `step`."""
        assert self.start is not None
        return self.path(self.times.progress(step), self.start, self.level.density)

    def prune_(self, module: Any, step: int, data: Any) -> None:
        """Prune `module` to the path's density at `step`, if it keeps more."""
        density, masks = self.density(step), module.masks
        if count_kept(density, masks.total) >= masks.kept:
            return
        new = self.prune(module.net, masks, density, batches=data)
        broadcast_(list(new.values()))
        masks.copy_(new)
        module.remask_()

    def state_dict(self) -> dict[str, Any]:
        return {"start": self.start}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.start = state_dict["start"]
