"""Frozen weights that may be rescaled between epochs; learning rate and ticket follow the scale."""

import math
from typing import Any

from torch import Tensor

from lth.modules._effective_weights import EffectiveWeights
from lth.pruning.search.rescaling import rescale_


class ScaledWeights(EffectiveWeights):
    """The base of searches whose frozen weights the callback `Rescale` may multiply.

    Attributes: `scales`, the factors on the logits so far in this level, usually none; `last_batch`, logits and labels
    of the last training step.
    """

    last_batch: tuple[Tensor, Tensor] | None = None

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.scales: list[float] = []
        self._unmasked: dict[str, Tensor] = {}

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        self.last_batch = logits, labels  # kept attached to the graph: detaching costs an operation in each step
        return super().loss(logits, labels)

    def factor(self, step: int) -> float:
        return super().factor(step) / math.prod(self.scales)

    def scale_(self, scale: float) -> None:
        """Multiply the frozen weights so that the logits are multiplied by `scale`; divide the learning rate by it."""
        rescale_(self.net, scale)
        self.scales.append(scale)
        self.refresh_weights()

    def refresh_weights(self) -> None:
        """Update copies of the network's weights after they have changed."""

    def starting_weights(self) -> dict[str, Tensor]:
        """The weights that differ from those at the level's start, unmasked, for the ticket (name -> tensor)."""
        return self._unmasked

    def _keep_unmasked(self) -> None:
        """Copy rescaled weights before masks are applied to the network: a ticket stores unmasked weights."""
        if self.scales:
            self._unmasked = {name: p.detach().clone() for name, p in self.net.named_parameters()}
