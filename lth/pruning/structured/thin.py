"""Thinning: units that masks have removed are cut out of the network, which becomes smaller and computes the same.

The indices that each tensor keeps are recorded, so that the cut can be repeated on other weights.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lth.pruning.masks import Masks
from lth.pruning.prunable import LAYERS
from lth.pruning.structured.coupling import CoupledLayers, coupled_layers

KeptIndices = Mapping[str, Mapping[int, Tensor]]  # parameter or buffer -> dimension -> indices that stay
_TOLERANCE = 1e-5  # largest difference of outputs, relative to the largest output


@dataclass(frozen=True)
class _ThinNetwork:
    """A network from which removed units were cut.

    net: the smaller network
    masks: the masks (bool) of its weights
    kept: for each tensor that became smaller, the indices of the original that it keeps
    difference: largest difference of its outputs from the masked network's, relative to the largest output
    """

    net: nn.Module
    masks: dict[str, Tensor]
    kept: KeptIndices
    difference: float


def thin(
    net: nn.Module, masks: Masks, image_shape: tuple[int, int, int], tolerance: float = _TOLERANCE
) -> _ThinNetwork:
    """A copy of `net` without the units that are pruned in all layers that compute them, or in all that read them.

    A unit of coupled layers is cut if all its producers have removed it, or all its consumers. Raises ValueError where
    the outputs differ by more than `tolerance` (if the batch norm of a removed filter still has a shift, for example),
    where a grouped convolution would lose part of a group, and where nothing would be left of a layer.

    image_shape: channels, height, width
    tolerance: largest difference of outputs, relative to the largest output
    """
    whole = deepcopy(net).eval()
    masks.apply_(whole)
    kept = _kept_indices(whole, masks, coupled_layers(whole, image_shape))
    small = deepcopy(whole)
    cut_(small, kept)
    difference = _output_difference(whole, small, image_shape)
    if not difference <= tolerance:
        raise ValueError(
            f"the thinned network's outputs differ by {difference:.2g} of the largest, more than {tolerance:.2g}: "
            "biases or batch norms of removed outputs are not zero. Train with method.whole_units=true"
        )
    left = {name: _select(mask.bool(), kept.get(name, {})) for name, mask in masks.items()}
    return _ThinNetwork(small, left, kept, difference)


def cut_(net: nn.Module, kept: KeptIndices) -> None:
    """Replace the parameters and buffers of `net` by the parts listed in `kept`; update the sizes of layers."""
    for name, dims in kept.items():
        module_name, _, leaf = name.rpartition(".")
        module = net.get_submodule(module_name)
        tensor = getattr(module, leaf)
        left = _select(tensor.detach(), dims)
        if isinstance(tensor, nn.Parameter):
            left = nn.Parameter(left, requires_grad=tensor.requires_grad)
        setattr(module, leaf, left)
    for name in {name.rpartition(".")[0] for name in kept}:
        _resize_(net.get_submodule(name))


def _select(tensor: Tensor, dims: Mapping[int, Tensor]) -> Tensor:
    """A copy of `tensor` with only the indices that `dims` (dimension -> indices) lists."""
    for dim, left in dims.items():
        tensor = tensor.index_select(dim, left.to(tensor.device))
    return tensor.clone()


@torch.no_grad()
def _output_difference(a: nn.Module, b: nn.Module, image_shape: tuple[int, int, int], images: int = 4) -> float:
    """Largest difference of the outputs on random images in evaluation mode, relative to the largest output of `a`."""
    parameter = next(a.parameters())
    drawn = torch.randn(images, *image_shape, generator=torch.Generator().manual_seed(0)).to(parameter)
    expected, found = a.eval()(drawn), b.eval()(drawn)
    return float((expected - found).abs().max() / expected.abs().max().clamp_min(1e-12))


def _kept_indices(net: nn.Module, masks: Mapping[str, Tensor], coupled: Sequence[CoupledLayers]) -> KeptIndices:
    """The indices that stay, for each tensor that loses any. coupled: all sets of coupled layers of the network."""
    removed: dict[tuple[str, int], Tensor] = {}
    group_inputs: dict[str, Tensor] = {}
    for layers in coupled:
        units_removed = _removable(layers, masks)
        for key, units in layers.slices.items():
            _mark(removed, key, units, units_removed)
        for name, units in layers.grouped.items():
            _mark(group_inputs, name, units, units_removed)
    for name, inputs in group_inputs.items():
        _check_groups(name, net.get_submodule(name).groups, inputs, removed[f"{name}.weight", 0])
    kept: dict[str, dict[int, Tensor]] = {}
    for (name, dim), lost in removed.items():
        if bool(lost.all()):
            raise ValueError(f"nothing would be left of {name}: a layer cannot be cut out as a whole")
        if bool(lost.any()):
            kept.setdefault(name, {})[dim] = (~lost).nonzero().flatten()
    return kept


def _removable(layers: CoupledLayers, masks: Mapping[str, Tensor]) -> Tensor:
    """Bool per unit: True where all producers or all consumers have removed it. Raises ValueError if all are True.

    No unit is removable where masks do not cover the layers, or where the units are the outputs of the network.
    """
    removed = torch.zeros(layers.n_units, dtype=torch.bool)
    if layers.is_network_output:
        return removed
    if all(name in masks for name in layers.producers):
        shapes = {name: mask.shape for name, mask in masks.items()}
        removed = layers.pruning_group(shapes).removed(masks).cpu()
    if not layers.grouped and all(name in masks for name, _ in layers.consumers):
        removed = removed | ~_read(layers, masks)
    if bool(removed.all()):
        raise ValueError(f"nothing would be left of {list(layers.producers)}: the network is cut")
    return removed


def _read(layers: CoupledLayers, masks: Mapping[str, Tensor]) -> Tensor:
    """Bool per unit: True where a consumer keeps a weight that reads it."""
    read = torch.zeros(layers.n_units, dtype=torch.bool)
    for name, units in layers.consumers:
        kept = masks[name].bool().transpose(0, 1).flatten(1).any(1).cpu()
        read[units[kept & (units >= 0)]] = True
    return read


def _mark(removed: dict[Any, Tensor], key: Any, units: Tensor, units_removed: Tensor) -> None:
    new = units_removed[units.clamp_min(0)] & (units >= 0)
    removed[key] = removed.get(key, torch.zeros_like(new)) | new


def _check_groups(name: str, groups: int, inputs: Tensor, outputs: Tensor) -> None:
    whole = inputs.view(groups, -1).all(1) & outputs.view(groups, -1).all(1)
    for lost in (inputs, outputs):
        if not torch.equal(lost, whole.repeat_interleave(len(lost) // groups)):
            raise ValueError(f"{name} has {groups} groups and would lose part of one: only whole groups can be cut out")


def _resize_(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, LAYERS):
        if module.groups > 1:  # only whole groups are cut out, so that outputs per group stay the same
            module.groups = module.weight.shape[0] // (module.out_channels // module.groups)
        module.out_channels, module.in_channels = module.weight.shape[0], module.weight.shape[1] * module.groups
    else:
        module.num_features = len(next(t for t in (module.running_mean, module.weight) if t is not None))
