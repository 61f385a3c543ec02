"""Units: how a weight is divided into parts that are kept or removed as a whole.

A unit maps a weight's shape to a tensor of that shape that holds, at every element, the number of its part, 0 to the
number of parts - 1. Layout is PyTorch's: convolutions are filters x channels x kernel positions, linear layers
out_features x in_features; Distiller's "Rows" of a linear layer are `in_features`, its "Cols" `out_features`.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Unit = Callable[[Sequence[int]], Tensor]


def elements(shape: Sequence[int]) -> Tensor:
    """Every weight on its own."""
    return torch.arange(torch.Size(shape).numel()).view(*shape)


def filters(shape: Sequence[int]) -> Tensor:
    """Convolutions' outputs (first dimension)."""
    return _along(_convolution(shape, "filters"), 0)


def channels(shape: Sequence[int]) -> Tensor:
    """Convolutions' inputs (second dimension)."""
    return _along(_convolution(shape, "channels"), 1)


def kernels(shape: Sequence[int]) -> Tensor:
    """The window between one input and one output of a convolution."""
    first, second = _convolution(shape, "kernels")[:2]
    return torch.arange(first * second).view(first, second, *[1] * (len(shape) - 2)).expand(*shape)


def out_features(shape: Sequence[int]) -> Tensor:
    """Linear layers' outputs (first dimension)."""
    return _along(_matrix(shape, "out_features"), 0)


def in_features(shape: Sequence[int]) -> Tensor:
    """Linear layers' inputs (second dimension)."""
    return _along(_matrix(shape, "in_features"), 1)


def outputs(shape: Sequence[int]) -> Tensor:
    """Any layer's outputs (first dimension): filters or out_features."""
    return _along(shape, 0)


def inputs(shape: Sequence[int]) -> Tensor:
    """Any layer's inputs (second dimension): channels or in_features."""
    return _along(shape, 1)


def layer(shape: Sequence[int]) -> Tensor:
    """The whole weight as one part."""
    return torch.zeros(*shape, dtype=torch.long)


def blocks(shape: Sequence[int], *, rows: int, columns: int) -> Tensor:
    """Tiles of `rows` filters by `columns` channels at one kernel position; both must divide the weight's."""
    first, second = shape[:2]
    if first % rows or second % columns:
        raise ValueError(f"blocks of {rows} x {columns} do not tile a weight of shape {tuple(shape)}")
    across, positions = second // columns, torch.Size(shape[2:]).numel()
    tile = (torch.arange(first) // rows).view(-1, 1) * across + torch.arange(second) // columns
    numbers = tile.view(first, second, 1) * positions + torch.arange(positions)
    return numbers.view(*shape)


def parts(numbers: Tensor) -> int:
    """How many parts a unit's numbers tell apart."""
    return int(numbers.max()) + 1


def totals(values: Tensor, numbers: Tensor) -> Tensor:
    """The sum of `values` over each part: one number a part, in double precision."""
    sums = torch.zeros(parts(numbers), dtype=torch.float64, device=values.device)
    return sums.index_add_(0, numbers.to(values.device).flatten(), values.detach().double().flatten())


def _along(shape: Sequence[int], dimension: int) -> Tensor:
    view = [1] * len(shape)
    view[dimension] = shape[dimension]
    return torch.arange(shape[dimension]).view(*view).expand(*shape)


def _convolution(shape: Sequence[int], unit: str) -> Sequence[int]:
    if len(shape) < 3:
        raise ValueError(f"{unit} are parts of a convolution's weight, not of one of shape {tuple(shape)}")
    return shape


def _matrix(shape: Sequence[int], unit: str) -> Sequence[int]:
    if len(shape) != 2:
        raise ValueError(f"{unit} are parts of a linear layer's weight, not of one of shape {tuple(shape)}")
    return shape
