"""Pruning units (granularities): how the elements of one weight are divided into parts that are kept or removed whole.

A unit is a function from the shape of a weight to an integer tensor of that shape, the unit index of every element,
0..number of units - 1. Shapes are PyTorch's: convolutions are filters x channels x kernel positions, linear layers
out_features x in_features. Distiller's "Rows" of a linear layer are `in_features` here, its "Cols" `out_features`.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

Unit = Callable[[Sequence[int]], Tensor]


def elements(shape: Sequence[int]) -> Tensor:
    """Every element is a unit (unstructured pruning)."""
    return torch.arange(torch.Size(shape).numel()).view(*shape)


def filters(shape: Sequence[int]) -> Tensor:
    """The outputs of a convolution (dimension 0). Raises ValueError for other weights."""
    return _along(_convolution(shape, "filters"), 0)


def channels(shape: Sequence[int]) -> Tensor:
    """The inputs of a convolution (dimension 1). Raises ValueError for other weights."""
    return _along(_convolution(shape, "channels"), 1)


def kernels(shape: Sequence[int]) -> Tensor:
    """The 2D (1D, 3D) kernel between one input and one output of a convolution. Raises ValueError for other weights."""
    first, second = _convolution(shape, "kernels")[:2]
    return torch.arange(first * second).view(first, second, *[1] * (len(shape) - 2)).expand(*shape)


def out_features(shape: Sequence[int]) -> Tensor:
    """The outputs of a linear layer (dimension 0). Raises ValueError for other weights."""
    return _along(_matrix(shape, "out_features"), 0)


def in_features(shape: Sequence[int]) -> Tensor:
    """The inputs of a linear layer (dimension 1). Raises ValueError for other weights."""
    return _along(_matrix(shape, "in_features"), 1)


def outputs(shape: Sequence[int]) -> Tensor:
    """The outputs of any layer (dimension 0): filters or out_features."""
    return _along(shape, 0)


def inputs(shape: Sequence[int]) -> Tensor:
    """The inputs of any layer (dimension 1): channels or in_features."""
    return _along(shape, 1)


def layer(shape: Sequence[int]) -> Tensor:
    """The whole weight is one unit."""
    return torch.zeros(*shape, dtype=torch.long)


def blocks(shape: Sequence[int], *, rows: int, columns: int) -> Tensor:
    """Tiles of `rows` outputs x `columns` inputs at one kernel position.

    Raises ValueError where `rows` or `columns` does not divide the size of its dimension.
    """
    first, second = shape[:2]
    if first % rows or second % columns:
        raise ValueError(f"blocks of {rows} x {columns} do not tile a weight of shape {tuple(shape)}")
    across, positions = second // columns, torch.Size(shape[2:]).numel()
    tile = (torch.arange(first) // rows).view(-1, 1) * across + torch.arange(second) // columns
    index = tile.view(first, second, 1) * positions + torch.arange(positions)
    return index.view(*shape)


# Units without arguments, which a configuration may name; a unit with arguments is given as a `_target_`.
BY_NAME: Mapping[str, Unit] = {
    unit.__name__: unit
    for unit in (elements, outputs, inputs, filters, channels, kernels, out_features, in_features, layer)
}


def count_units(index: Tensor) -> int:
    """The number of units of a weight with this unit index."""
    return int(index.max()) + 1


def sum_per_unit(values: Tensor, index: Tensor) -> Tensor:
    """The sum of `values` over the elements of each unit: a float64 vector with one entry per unit.

    values: one number per element of the weight
    index: the unit index, of the same shape
    """
    sums = torch.zeros(count_units(index), dtype=torch.float64, device=values.device)
    return sums.index_add_(0, index.to(values.device).flatten(), values.detach().double().flatten())


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
