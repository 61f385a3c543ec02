"""Draws or adjusts the initial weights given the first masks."""

from pytorch_lightning import Callback, LightningModule, Trainer
from torch import nn

from lth.plan import Level
from lth.pruning import Masks
from lth.pruning.initial_weights.distributions import InitialWeights, as_drawn
from lth.pruning.restore import preserved
from lth.training.ranks import broadcast_


class DrawWeights(Callback):
    """Applies `rule` to the prunable weights at level 0, after pruning and before the rewind point is saved.

    level: the level being trained
    rule: a function of `lth.pruning.initial_weights`
    seed: the seed of the initial weights, so that the pruning seed does not change them
    """

    def __init__(self, level: Level, rule: InitialWeights = as_drawn, seed: int = 0):
        self.level, self.rule, self.seed = level, rule, seed
        self._begins: Masks | None = None

    def check(self, before: Masks) -> None:
        """Note the masks under which the rule will be called, as far as they are known."""
        self._begins = before

    def check_network(self, net: nn.Module, masks: Masks, image_shape: tuple[int, int, int]) -> None:
        """Raise ValueError where the rule takes weights from a file that does not fit the network."""
        if self.level.first and "path" in getattr(self.rule, "keywords", {}):
            with preserved(net):
                self.rule(net, masks if self._begins is None else self._begins, self.seed)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.level.first and not trainer.ckpt_path:
            pl_module.missing_weights = self.rule(pl_module.net, pl_module.masks, self.seed) or ""
            broadcast_([p.data for p in pl_module.net.parameters()])
