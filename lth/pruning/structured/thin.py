"""Thinning: units that masks have removed are cut out of the network, which becomes smaller and computes the same.

What is left of every tensor is recorded as indices, so that the cut can be repeated on other weights, and undone.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lth.pruning.masks import Masks
from lth.pruning.prunable import LAYERS
from lth.pruning.structured.coupling import Coupled, coupled
from lth.pruning.structured.groups import removed

Kept = Mapping[str, Mapping[int, Tensor]]  # parameter or buffer -> dimension -> indices that are left
TOLERANCE = 1e-5  # of the outputs, relative to the largest


@dataclass(frozen=True)
class Thinned:
    """A smaller network, the masks of what is left, the indices that were kept, and by how much its outputs differ
    from the masked network's, relative to the largest."""

    net: nn.Module
    masks: dict[str, Tensor]
    kept: Kept
    difference: float


def thin(net: nn.Module, masks: Masks, image_shape: tuple[int, int, int], tolerance: float = TOLERANCE) -> Thinned:
    """A copy of `net` under `masks` without the units that nothing writes or nothing reads any more.

    A unit goes when every layer of a sum has removed it, or every layer that reads it. Raises ValueError where the
    outputs would differ by more than `tolerance` (a batch norm whose shift outlives its filter), where a grouped
    convolution would lose part of a group, and where nothing would be left.
    """
    whole = deepcopy(net).eval()
    masks.apply_(whole)
    kept = indices(whole, masks, coupled(whole, image_shape))
    small = deepcopy(whole)
    cut_(small, kept)
    difference = compare(whole, small, image_shape)
    if not difference <= tolerance:
        raise ValueError(
            f"the thinned network's outputs differ by {difference:.2g} of the largest, more than {tolerance:.2g}: "
            "removed outputs still send something on. Train with method.whole_units=true"
        )
    left = {name: select(mask.bool(), kept.get(name, {})) for name, mask in masks.items()}
    return Thinned(small, left, kept, difference)


def indices(net: nn.Module, masks: Mapping[str, Tensor], sets: Sequence[Coupled]) -> Kept:
    """What is left of each tensor that loses something. sets: all of the network's."""
    gone: dict[tuple[str, int], Tensor] = {}
    inputs: dict[str, Tensor] = {}
    for own in sets:
        lost = removable(own, masks)
        for (name, dim), units in own.slices.items():
            _mark(gone, (name, dim), units, lost)
        for name, units in own.grouped.items():
            _mark(inputs, name, units, lost)
    for name, lost in inputs.items():
        _check_groups(name, net.get_submodule(name).groups, lost, gone[f"{name}.weight", 0])
    kept: dict[str, dict[int, Tensor]] = {}
    for (name, dim), lost in gone.items():
        if bool(lost.all()):
            raise ValueError(f"nothing would be left of {name}: a layer cannot be cut out as a whole")
        if bool(lost.any()):
            kept.setdefault(name, {})[dim] = (~lost).nonzero().flatten()
    return kept


def removable(own: Coupled, masks: Mapping[str, Tensor]) -> Tensor:
    """Which units (bool) no writer computes, or no reader looks at. Raises ValueError for all of them."""
    none = torch.zeros(own.units, dtype=torch.bool)
    shapes = {name: mask.shape for name, mask in masks.items()}
    readers = dict(own.readers)
    if not readers and not own.grouped:
        return none  # the network's outputs
    lost = none
    if all(name in masks for name in own.writers):
        lost = removed(masks, own.together(shapes)).cpu()
    if not own.grouped and all(name in masks for name in readers):
        lost = lost | ~_read(own, masks)
    if bool(lost.all()):
        raise ValueError(f"nothing would be left of {list(own.writers)}: the network is cut")
    return lost


def cut_(net: nn.Module, kept: Kept) -> None:
    """Leave of every tensor of `net` what `kept` says: new, smaller parameters and buffers; layers know their sizes."""
    for name, dims in kept.items():
        module_name, _, leaf = name.rpartition(".")
        module = net.get_submodule(module_name)
        tensor = getattr(module, leaf)
        left = select(tensor.detach(), dims)
        if isinstance(tensor, nn.Parameter):
            left = nn.Parameter(left, requires_grad=tensor.requires_grad)
        setattr(module, leaf, left)
    for name in {name.rpartition(".")[0] for name in kept}:
        _resize_(net.get_submodule(name))


def select(tensor: Tensor, dims: Mapping[int, Tensor]) -> Tensor:
    """A copy of the part of `tensor` that is left (optimizer state and masks follow their parameter's indices)."""
    for dim, left in dims.items():
        tensor = tensor.index_select(dim, left.to(tensor.device))
    return tensor.clone()


def widen(tensor: Tensor, dims: Mapping[int, Tensor], shape: Sequence[int]) -> Tensor:
    """Back in the original coordinates: `tensor` where it was cut from, zero elsewhere."""
    whole = torch.arange(torch.Size(shape).numel(), device=tensor.device).view(*shape)
    flat = torch.zeros(whole.numel(), dtype=tensor.dtype, device=tensor.device)
    flat[select(whole, dims).flatten()] = tensor.flatten()
    return flat.view(*shape)


@torch.no_grad()
def compare(a: nn.Module, b: nn.Module, image_shape: tuple[int, int, int], images: int = 4) -> float:
    """The largest difference of outputs on random images in evaluation mode, relative to the largest output."""
    parameter = next(a.parameters())
    drawn = torch.randn(images, *image_shape, generator=torch.Generator().manual_seed(0)).to(parameter)
    expected, found = a.eval()(drawn), b.eval()(drawn)
    return float((expected - found).abs().max() / expected.abs().max().clamp_min(1e-12))


def _read(own: Coupled, masks: Mapping[str, Tensor]) -> Tensor:
    """Which units some reader keeps a weight for."""
    read = torch.zeros(own.units, dtype=torch.bool)
    for name, units in own.readers:
        kept = masks[name].bool().transpose(0, 1).flatten(1).any(1).cpu()
        read[units[kept & (units >= 0)]] = True
    return read


def _mark(gone: dict[Any, Tensor], key: Any, units: Tensor, lost: Tensor) -> None:
    new = lost[units.clamp_min(0)] & (units >= 0)
    gone[key] = gone.get(key, torch.zeros_like(new)) | new


def _check_groups(name: str, groups: int, inputs: Tensor, outputs: Tensor) -> None:
    whole = inputs.view(groups, -1).all(1) & outputs.view(groups, -1).all(1)
    for lost in (inputs, outputs):
        if not torch.equal(lost, whole.repeat_interleave(len(lost) // groups)):
            raise ValueError(f"{name} has {groups} groups and would lose part of one: only whole groups can go")


def _resize_(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, LAYERS):
        if module.groups > 1:  # whole groups have gone
            module.groups = module.weight.shape[0] // (module.out_channels // module.groups)
        module.out_channels, module.in_channels = module.weight.shape[0], module.weight.shape[1] * module.groups
    else:
        module.num_features = len(next(t for t in (module.running_mean, module.weight) if t is not None))
