"""Parameters attached to an output: the bias of its layer, and the scale and shift of the batch norms that read it.

An output whose weights are all zero still equals its bias, and shift + scale * (bias - mean) / std after batch norm.
The network computes what it would with the output cut out only if the attached parameters are zero too.
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from lth.pruning.masks import Masks
from lth.pruning.prunable import bias_name
from lth.pruning.structured._dataflow import trace, zero_image


class Attached:
    """Masks of the attached parameters, computed from the masks of the weights.

    `masks` (parameter name -> 0/1 tensor, allocated once and changed in place) are 0 where all weights that produce
    the output are pruned. `parameters` are the parameters themselves, in the same order.
    """

    def __init__(self, net: nn.Module, producers: Mapping[str, Iterable[str]]):
        """producers: parameter name -> names of the weights whose outputs it belongs to."""
        named = dict(net.named_parameters())
        self.producers = {name: tuple(sorted(weights)) for name, weights in producers.items()}
        self.parameters = {name: named[name] for name in self.producers}
        self.masks = {name: torch.ones_like(p, requires_grad=False) for name, p in self.parameters.items()}

    @classmethod
    def find(cls, net: nn.Module, masks: Masks, image_shape: tuple[int, int, int]) -> "Attached":
        """The parameters attached to the weights that `masks` cover, found by tracing a forward pass.

        A batch norm is included only if masks cover the weights of all layers whose outputs it reads. The layer that
        computes the network's outputs keeps its bias, because a class cannot be cut out.
        """
        flow = trace(net, [zero_image(net, image_shape)])
        named = dict(net.named_parameters())
        producers: dict[str, set[str]] = {}
        for name in masks:
            producers[bias_name(name)] = {name}
        for norm, weights in flow.norm_sources.items():
            producers |= {f"{norm}.weight": weights, f"{norm}.bias": weights}
        covered = {
            name: weights
            for name, weights in producers.items()
            if name in named and weights and weights <= set(masks) and not weights & flow.network_outputs
        }
        return cls(net, covered)

    @torch.no_grad()
    def update_(self, masks: Mapping[str, Tensor]) -> None:
        """Recompute `self.masks` from the masks of the weights."""
        for name, mask in self.masks.items():
            alive = [masks[weight].bool().flatten(1).any(1).to(mask.device) for weight in self.producers[name]]
            mask.copy_(torch.stack(alive).any(0))
