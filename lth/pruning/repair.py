"""Flow preservation: no output without an input, no input without a reader, in every layer (arXiv 2210.02412).

A layer's mask is read as groups x outputs x inputs x kernel positions. An output without kept weights computes a
constant; an input channel without any is ignored.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from lth.pruning.masks import Masks
from lth.pruning.prunable import LAYERS
from lth.pruning.seeds import generator

Repair = Callable[[nn.Module, Masks, int], Masks]
Mode = Callable[[Tensor, bool, torch.Generator], None]


def dead_units(net: nn.Module, masks: Masks) -> dict[str, tuple[int, int]]:
    """Outputs without any kept input and inputs without any reader, of each layer."""
    groups, found = _groups(net), {}
    for name, mask in masks.items():
        grid = _grid(mask, groups.get(name, 1))
        found[name] = len(_empty(grid.any(3).any(2).flatten())), len(_empty(grid.any(3).any(1).flatten()))
    return found


def leave(net: nn.Module, masks: Masks, seed: int = 0) -> Masks:
    """No repair."""
    return masks


def rewire(net: nn.Module, masks: Masks, seed: int = 0) -> Masks:
    """Move kept weights so that no unit is dead; every layer keeps its count. Repairs what its counts allow.

    An empty output takes a weight from the fullest one, an empty input from the fullest one, within its row.
    """
    return _repair(net, masks, seed, _rewire)


def add(net: nn.Module, masks: Masks, seed: int = 0) -> Masks:
    """Set one weight in every empty output and every empty input; density grows by as many."""
    return _repair(net, masks, seed, _add)


def _repair(net: nn.Module, masks: Masks, seed: int, mode: Mode) -> Masks:
    groups, repaired = _groups(net), {}
    for index, (name, mask) in enumerate(masks.items()):
        grid, random = _grid(mask, groups.get(name, 1)), generator("flow", seed, name)
        for part in grid:
            mode(part, index > 0, random)  # the first layer's inputs are the image's channels: left as they are
        repaired[name] = grid.view(mask.shape)
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
    """The first of the largest counts, and that count."""
    most = int(counts.max())
    return int((counts == most).nonzero()[0]), most


def _pick(plane: Tensor, random: torch.Generator) -> tuple[int, int]:
    """A random kept position."""
    kept = plane.nonzero()
    row, column = kept[_below(len(kept), random)].tolist()
    return row, column


def _anywhere(plane: Tensor, random: torch.Generator) -> tuple[int, int]:
    """Any position."""
    return _below(plane.shape[0], random), _below(plane.shape[1], random)


def _below(limit: int, random: torch.Generator) -> int:
    return int(torch.randint(limit, (1,), generator=random))


def _grid(mask: Tensor, groups: int) -> Tensor:
    """groups x outputs x inputs x kernel positions, a copy on the CPU."""
    bits = mask.bool().cpu().contiguous().clone()
    return bits.view(groups, bits.shape[0] // groups, bits.shape[1], -1)


def _groups(net: nn.Module) -> Mapping[str, int]:
    return {f"{n}.weight".lstrip("."): getattr(m, "groups", 1) for n, m in net.named_modules() if isinstance(m, LAYERS)}
