"""Frozen weights that may be multiplied between two epochs, with what has to follow: the step size, the ticket."""

import math
from typing import Any

from torch import Tensor

from lth.modules.effective_weights import EffectiveWeights
from lth.pruning.search.rescaling import rescale_


class ScaledWeights(EffectiveWeights):
    """`scales` are the factors on the logits so far in this level (see `lth.callbacks.Rescale`); mostly there are none.

    `last_batch` are logits and labels of the last training step.
    """

    last_batch: tuple[Tensor, Tensor] | None = None

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.scales: list[float] = []
        self._whole: dict[str, Tensor] = {}

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        self.last_batch = logits, labels  # not detached: that were an operation a step
        return super().loss(logits, labels)

    def factor(self, step: int) -> float:
        return super().factor(step) / math.prod(self.scales)

    def scale_(self, scale: float) -> None:
        """Multiply the frozen weights, so that the logits are multiplied by `scale`; divide the learning rate by it."""
        rescale_(self.net, scale)
        self.scales.append(scale)
        self.hold_weights()

    def hold_weights(self) -> None:
        """Take over the network's weights, which have changed, where others are made of them."""

    def starting_weights(self) -> dict[str, Tensor]:
        """The weights of the ticket, unmasked, where they are no longer those of the level's start."""
        return self._whole

    def _keep_whole(self) -> None:
        """Before masks are applied to the network: what they take out is no less part of a ticket."""
        if self.scales:
            self._whole = {name: p.detach().clone() for name, p in self.net.named_parameters()}
