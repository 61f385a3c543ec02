"""Frozen weights that may be rescaled between epochs; the learning rate and the ticket are adjusted to the scale."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from lth.modules._effective_weights import EffectiveWeights
from lth.pruning.prunable import batch_norms, bias_name, prunable


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
        _rescale_(self.net, scale)
        self.scales.append(scale)
        self.refresh_weights()

    def refresh_weights(self) -> None:
        """Update copies of the network's weights after they have changed."""

    def starting_weights(self) -> dict[str, Tensor]:
        """The weights that the search has changed, unmasked; they replace those in the ticket (name -> tensor)."""
        return self._unmasked

    def _keep_unmasked(self) -> None:
        """Copy rescaled weights before masks are applied to the network: a ticket stores unmasked weights."""
        if self.scales:
            self._unmasked = {name: p.detach().clone() for name, p in self.net.named_parameters()}


@torch.no_grad()
def _rescale_(net: nn.Module, scale: float) -> None:
    """Multiply the weights of the L conv and linear layers by scale^(1/L), and the bias of layer l by scale^(l/L).

    With ReLUs between the layers, this multiplies the logits by `scale`. Running statistics of batch norm are scaled
    like their inputs, so that its outputs do not change: the logits then get the last layer's factor alone.
    """
    parameters, weights = dict(net.named_parameters()), prunable(net)
    of_weights = scale ** (1 / len(weights))
    for index, (name, weight) in enumerate(weights.items(), start=1):
        weight.mul_(of_weights)
        bias = parameters.get(bias_name(name))
        if bias is not None:
            bias.mul_(scale ** (index / len(weights)))
    for norm in batch_norms(net).values():
        if norm.running_mean is not None and norm.running_var is not None:
            norm.running_mean.mul_(of_weights)
            norm.running_var.mul_(of_weights**2)
