"""Flow preservation: no output without an input, no input without a reader, in every layer (arXiv 2210.02412).

A layer's mask is read as groups x outputs x inputs x kernel positions. An output without kept weights computes a
constant; an input channel without any is ignored.
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from lth.pruning.masks import Masks
from lth.pruning.prunable import LAYERS
from lth.pruning.seeds import derive

Repair = Callable[[nn.Module, Masks, int], Masks]
Mode = Callable[[np.ndarray, bool, np.random.Generator], None]


def dead_units(net: nn.Module, masks: Masks) -> dict[str, tuple[int, int]]:
    """Outputs without any kept input and inputs without any reader, of each layer."""
    groups, found = _groups(net), {}
    for name, mask in masks.items():
        grid = _grid(mask, groups.get(name, 1))
        found[name] = int((~grid.any((2, 3))).sum()), int((~grid.any((1, 3))).sum())
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
        grid = _grid(mask, groups.get(name, 1))
        random = np.random.Generator(np.random.Philox(derive("flow", seed, name)))
        for part in grid:
            mode(part, index > 0, random)  # the first layer's inputs are the image's channels: left as they are
        repaired[name] = torch.from_numpy(grid.reshape(mask.shape))
    return masks.clone().copy_(repaired)


def _rewire(part: np.ndarray, columns: bool, random: np.random.Generator) -> None:
    _fill_rows(part, random)
    if columns:
        _fill_columns(part, random)


def _fill_rows(part: np.ndarray, random: np.random.Generator) -> None:
    for row in np.flatnonzero(~part.any((1, 2))):
        counts = part.sum((1, 2))
        fullest = int(counts.argmax())
        if counts[fullest] < 2:
            return
        part[fullest][_pick(part[fullest], random)] = False
        part[row][_anywhere(part[row], random)] = True


def _fill_columns(part: np.ndarray, random: np.random.Generator) -> None:
    for column in np.flatnonzero(~part.any((0, 2))):
        counts = part.sum((0, 2))
        fullest = int(counts.argmax())
        if counts[fullest] < 2:
            return
        row, position = _pick(part[:, fullest], random)
        part[row, fullest, position] = False
        part[row, column, random.integers(part.shape[2])] = True


def _add(part: np.ndarray, columns: bool, random: np.random.Generator) -> None:
    for row in np.flatnonzero(~part.any((1, 2))):
        part[row][_anywhere(part[row], random)] = True
    for column in np.flatnonzero(~part.any((0, 2))) if columns else ():
        part[:, column][_anywhere(part[:, column], random)] = True


def _pick(plane: np.ndarray, random: np.random.Generator) -> tuple[int, int]:
    """A random kept position."""
    kept = np.argwhere(plane)
    first, second = kept[random.integers(len(kept))]
    return int(first), int(second)


def _anywhere(plane: np.ndarray, random: np.random.Generator) -> tuple[int, int]:
    """Any position."""
    return int(random.integers(plane.shape[0])), int(random.integers(plane.shape[1]))


def _grid(mask: Tensor, groups: int) -> np.ndarray:
    """groups x outputs x inputs x kernel positions, a copy."""
    bits = mask.bool().cpu().numpy().copy()
    return bits.reshape(groups, bits.shape[0] // groups, bits.shape[1], -1)


def _groups(net: nn.Module) -> Mapping[str, int]:
    return {f"{n}.weight".lstrip("."): getattr(m, "groups", 1) for n, m in net.named_modules() if isinstance(m, LAYERS)}
