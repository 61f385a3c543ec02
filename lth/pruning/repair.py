"""Flow preservation: every output and every input of a layer keeps at least one weight (arXiv 2210.02412).

An output without kept weights is constant; an input without kept weights is ignored. Inputs of the first layer are
image channels and may stay empty. Masks are viewed as groups x outputs x inputs x kernel positions.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd

from lth.pruning.masks import Masks
from lth.pruning.prunable import LAYERS
from lth.pruning.seeds import generator

Repair = Callable[[nn.Module, Masks, int], Masks]
_PLAIN = (1, False)  # one group, not transposed: the layout of a weight of shape outputs x inputs
_Mode = Callable[[Tensor, bool, torch.Generator], None]


def dead_units(net: nn.Module, masks: Masks) -> dict[str, tuple[int, int]]:
    """Number of outputs and of inputs without kept weights, by layer. `net` is read for the layout of convolutions."""
    layouts, found = _layouts(net), {}
    for name, mask in masks.items():
        grid = _grid(mask, *layouts.get(name, _PLAIN))
        found[name] = len(_empty(grid.any(3).any(2).flatten())), len(_empty(grid.any(3).any(1).flatten()))
    return found


def no_repair(net: nn.Module, masks: Masks, seed: int = 0) -> Masks:
    """The masks as they are."""
    return masks


def rewire(net: nn.Module, masks: Masks, seed: int = 0) -> Masks:
    """Move kept weights to dead outputs and inputs; every layer keeps its count.

    For each empty output, a random weight moves there from the output with the most weights. Then, for each empty
    input, a random weight moves there from the input with the most weights, within the same output. Units stay empty
    if no unit of their group has two weights.
    """
    return _repair(net, masks, seed, _rewire)


def add(net: nn.Module, masks: Masks, seed: int = 0) -> Masks:
    """Keep one more weight, at random, in every empty output and every empty input."""
    return _repair(net, masks, seed, _add)


def _repair(net: nn.Module, masks: Masks, seed: int, mode: _Mode) -> Masks:
    layouts, repaired = _layouts(net), {}
    for index, (name, mask) in enumerate(masks.items()):
        groups, transposed = layouts.get(name, _PLAIN)
        grid, random = _grid(mask, groups, transposed), generator("flow", seed, name)
        for part in grid:
            mode(part, index > 0, random)  # a dead input of the first layer is an image channel, which needs no weight
        repaired[name] = (grid.transpose(1, 2) if transposed else grid).reshape(mask.shape)
    return masks.clone().copy_(repaired)


def _rewire(part: Tensor, columns: bool, random: torch.Generator) -> None:
    _fill_rows(part, random)
    if columns:
        _fill_columns(part, random)


def _fill_rows(part: Tensor, random: torch.Generator) -> None:
    for row in _empty(part.any(2).any(1)):
        fullest, most = _fullest(part.sum((1, 2)))
        if most < 2:
            return
        part[fullest][_pick(part[fullest], random)] = False
        part[row][_anywhere(part[row], random)] = True


def _fill_columns(part: Tensor, random: torch.Generator) -> None:
    for column in _empty(part.any(2).any(0)):
        fullest, most = _fullest(part.sum((0, 2)))
        if most < 2:
            return
        row, position = _pick(part[:, fullest], random)
        part[row, fullest, position] = False
        part[row, column, _below(part.shape[2], random)] = True


def _add(part: Tensor, columns: bool, random: torch.Generator) -> None:
    for row in _empty(part.any(2).any(1)):
        part[row][_anywhere(part[row], random)] = True
    for column in _empty(part.any(2).any(0)) if columns else ():
        part[:, column][_anywhere(part[:, column], random)] = True


def _empty(alive: Tensor) -> list[int]:
    return (~alive).nonzero().flatten().tolist()


def _fullest(counts: Tensor) -> tuple[int, int]:
    """The index of the first largest count, and that count."""
    most = int(counts.max())
    return int((counts == most).nonzero()[0]), most


def _pick(plane: Tensor, random: torch.Generator) -> tuple[int, int]:
    """A random kept position."""
    kept = plane.nonzero()
    row, column = kept[_below(len(kept), random)].tolist()
    return row, column


def _anywhere(plane: Tensor, random: torch.Generator) -> tuple[int, int]:
    """A random position, kept or not."""
    return _below(plane.shape[0], random), _below(plane.shape[1], random)


def _below(limit: int, random: torch.Generator) -> int:
    return int(torch.randint(limit, (1,), generator=random))


def _grid(mask: Tensor, groups: int, transposed: bool) -> Tensor:
    """groups x outputs x inputs x kernel positions, a copy on the CPU."""
    bits = mask.bool().cpu().contiguous().clone()
    grid = bits.view(groups, bits.shape[0] // groups, bits.shape[1], -1)
    return grid.transpose(1, 2).contiguous() if transposed else grid


def _layouts(net: nn.Module) -> Mapping[str, tuple[int, bool]]:
    """Weight name -> number of groups, and whether its inputs come before its outputs (transposed convolutions)."""
    kinds = (*LAYERS, _ConvTransposeNd)
    layers = {f"{n}.weight".lstrip("."): m for n, m in net.named_modules() if isinstance(m, kinds)}
    return {name: (getattr(m, "groups", 1), isinstance(m, _ConvTransposeNd)) for name, m in layers.items()}
