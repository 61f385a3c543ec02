"""Looks-linear initialisation: mirrored orthogonal weights that make a ReLU network linear in its input.

Shattered Gradients, arXiv 1702.08591; with masks, arXiv 2210.02412. The halves of a layer's outputs are relu(z) and
relu(-z); the next layer computes their difference, z. Exact in chains of linear layers and convolutions with biases 0
and even widths, and with batch norm or average pooling in between; identity shortcuts and max pooling break it.
"""

import logging
import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd

from lth.pruning.initial_weights._orthogonal import orthogonalise
from lth.pruning.masks import Masks
from lth.pruning.prunable import LAYERS, prunable
from lth.pruning.seeds import generator
from lth.pruning.topk import largest

log = logging.getLogger(__name__)


class _Mirror(NamedTuple):
    """Which sides of a weight (outputs x inputs x kernel) are mirrored.

    An odd side is mirrored and then cropped, so that its last unit has no partner.
    """

    outputs: bool
    inputs: bool

    def cell(self, weight: Tensor) -> Tensor:
        """The independent block of `weight`: the first half along each mirrored dimension."""
        rows, columns = weight.shape[0], weight.shape[1]
        return weight[: -(-rows // 2) if self.outputs else rows, : -(-columns // 2) if self.inputs else columns]

    def tile(self, cell: Tensor, shape: torch.Size, sign: int) -> Tensor:
        """[[c, sign c], [sign c, c]] of the cell c, or one row or column of it, cropped to `shape`."""
        if self.inputs:
            cell = torch.cat([cell, sign * cell], 1)
        if self.outputs:
            cell = torch.cat([cell, sign * cell], 0)
        return cell[: shape[0], : shape[1]]

    def fold(self, mask: Tensor) -> Tensor:
        """For each position of the cell, how many of its copies the mask keeps, 0 to 4."""
        columns = self.cell(mask).shape[1]
        total = mask.clone()
        if self.inputs:
            total = total[:, :columns].clone()
            total[:, : mask.shape[1] - columns] += mask[:, columns:]
        rows = self.cell(mask).shape[0]
        if self.outputs:
            lower, total = total[rows:], total[:rows].clone()
            total[: len(lower)] += lower
        return total


def _mirrors(net: nn.Module, as_published: bool = False) -> dict[str, _Mirror]:
    """How each prunable weight is mirrored: on both sides, except the first layer's inputs and the last one's outputs.

    as_published: the last layer is mirrored on both sides.
    Raises ValueError for grouped convolutions, whose outputs do not read both inputs of a mirrored pair, and for
    recurrent layers and transposed convolutions.
    """
    other = [type(m).__name__ for m in net.modules() if isinstance(m, nn.RNNBase | nn.RNNCellBase | _ConvTransposeNd)]
    if other:
        raise ValueError(f"looks-linear weights need convolutions and linear layers; there are {sorted(set(other))}")
    grouped = [f"{n}.weight" for n, m in net.named_modules() if isinstance(m, LAYERS) and getattr(m, "groups", 1) > 1]
    if grouped:
        raise ValueError(f"looks-linear weights need ungrouped layers; these have groups: {grouped}")
    names = list(prunable(net))
    return {name: _Mirror(name != names[-1] or as_published, name != names[0]) for name in names}


@torch.no_grad()
def looks_linear(
    net: nn.Module,
    masks: Masks,
    seed: int = 0,
    *,
    steps: int = 3000,
    lr: float = 1e-3,
    tolerance: float = 1e-6,
    as_published: bool = False,
) -> None:
    """Draw mirrored orthogonal weights, divided by the square root of their layer's density; biases are not changed.

    Masks must be mirrored like the weights (see `mirror`); otherwise the network is not linear, and a warning is
    logged. Under a mirrored sparse mask, the divided weights of the repeated part are then moved towards orthogonality.
      steps, lr, tolerance: of this optimisation, as in `distributions.orthogonal`
      as_published: use the network's density instead of the layer's, and mirror the last layer on both sides
    """
    how, density, broken = _mirrors(net, as_published), masks.density, []
    for name, weight in zip(masks, masks.weights(net), strict=True):
        mask, mirror = masks[name], how[name]
        share = density if as_published else float(mask.sum()) / mask.numel()
        kept = mirror.cell(mask)
        cell = _orthogonal(kept, generator("weights", seed, name)).to(weight) / math.sqrt(max(share, 1e-12))
        if not torch.equal(mirror.tile(kept, mask.shape, 1), mask):
            broken.append(name)
        elif not kept.all():
            cell, before, after = orthogonalise(cell, kept, steps, lr, tolerance)
            log.info("looks-linear repair of %s: residual %.4g -> %.4g", name, before, after)
        weight.copy_(mirror.tile(cell, weight.shape, -1) * mask)
    if broken:
        log.warning("not mirrored, and so not linear: the masks of %s (method/repair=mirror mirrors them)", broken)


def mirror(net: nn.Module, masks: Masks, seed: int = 0) -> Masks:
    """Masks mirrored like looks-linear weights, with the layer counts of `masks` to within 2.

    The difference can be larger for odd sides and a layer of one weight. Of the repeated part, the positions with the
    most kept copies are kept; ties are broken at random. A mirrored mask is returned unchanged, and masks nested in a
    mirrored one stay nested.
    """
    how, mirrored = _mirrors(net), {}
    for name, mask in masks.items():
        share = how[name].fold(mask.cpu().double()) / how[name].fold(torch.ones(mask.shape))
        positions = max(math.floor(float(share.sum()) + 0.5), int(share.any()))
        draws = torch.rand(share.shape, generator=generator("mirror", seed, name))
        kept = largest({name: share + draws / 8}, positions)[name]
        mirrored[name] = how[name].tile(kept, mask.shape, 1)
    return masks.clone().copy_(mirrored)


def _orthogonal(like: Tensor, random: torch.Generator) -> Tensor:
    """A tensor of the shape of `like` with orthonormal rows (or columns, if fewer), its kernel flattened."""
    matrix = torch.empty(like.shape[0], like[0].numel())
    return nn.init.orthogonal_(matrix, generator=random).view(like.shape)
