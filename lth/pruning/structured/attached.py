"""What leaves with a layer's output: its bias, and the scale and shift of the batch norms that read it.

A filter of zeros alone still sends on its bias, and batch norm's shift - scale * mean / std. Without them its output is
zero, and the network computes what it would with the filter cut out.
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from lth.pruning.masks import Masks
from lth.pruning.structured.dataflow import blank, watch


class Companions:
    """Parameter name -> 0/1 tensor: 0 where every weight that feeds the entry has lost the whole output.

    Allocated once and changed in place by `update_`. fed: parameter name -> the weights.
    """

    def __init__(self, net: nn.Module, fed: Mapping[str, Iterable[str]]):
        named = dict(net.named_parameters())
        self.fed = {name: tuple(sorted(writers)) for name, writers in fed.items()}
        self.parameters = {name: named[name] for name in self.fed}
        self.masks = {name: torch.ones_like(p, requires_grad=False) for name, p in self.parameters.items()}

    @torch.no_grad()
    def update_(self, masks: Mapping[str, Tensor]) -> None:
        """Follow `masks`."""
        for name, mask in self.masks.items():
            alive = [masks[writer].bool().flatten(1).any(1).to(mask.device) for writer in self.fed[name]]
            mask.copy_(torch.stack(alive).any(0))


def companions(net: nn.Module, masks: Masks, image_shape: tuple[int, int, int]) -> Companions:
    """The companions of the weights `masks` cover, found by watching a forward pass. The layer that gives the network's
    outputs keeps its bias: a class cannot be cut out."""
    followers, ends = watch(net, [blank(net, image_shape)])
    named = dict(net.named_parameters())
    fed: dict[str, set[str]] = {}
    for name in masks:
        fed[f"{name.removesuffix('weight')}bias"] = {name}
    for norm, writers in followers.norms.items():
        fed |= {f"{norm}.weight": writers, f"{norm}.bias": writers}
    covered = {
        name: writers
        for name, writers in fed.items()
        if name in named and writers and writers <= set(masks) and not writers & ends
    }
    return Companions(net, covered)
