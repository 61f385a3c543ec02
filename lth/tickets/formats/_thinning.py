"""Distiller's thinning recipes: positions of a thinned network's weights in the original network."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


def index_maps(shapes: Mapping[str, torch.Size], recipes: Sequence[Any]) -> dict[str, Tensor]:
    """Tensor name -> flat indices, in the original tensor, of the weights that remain; only for tensors that were cut.

    shapes: shapes of the original tensors
    recipes: in the order applied; each maps tensor names to (dim, indices) or (dim, indices, view shape, final shape)

    Raises ValueError for a recipe that names an unknown tensor.
    """
    maps: dict[str, Tensor] = {}
    for recipe in recipes:
        for name, directives in {**recipe.parameters, **_statistics(recipe.modules)}.items():
            if name not in shapes:
                raise ValueError(f"the thinning recipe names {name!r}, which the untrained network lacks")
            grid = maps.get(name, torch.arange(shapes[name].numel()).view(shapes[name]))
            for directive in [directives] if isinstance(directives, tuple) else directives:
                grid = _cut(grid, *directive)
            maps[name] = grid
    return maps


def widen(mask: Tensor, index_map: Tensor, shape: torch.Size) -> Tensor:
    """A mask of the original tensor in which the removed weights are pruned.

    mask: mask of the thinned tensor
    index_map: flat indices of its weights in the original tensor, see `index_maps`
    shape: shape of the original tensor
    """
    full = torch.zeros(shape.numel(), dtype=torch.bool)
    full[index_map.flatten()] = mask.bool().flatten()
    return full.view(shape)


def _cut(grid: Tensor, dim: int, indices: Tensor, view: Sequence[int] = (), final: Sequence[int] = ()) -> Tensor:
    seen = grid.view(tuple(view)) if view else grid
    left = seen.index_select(dim, torch.as_tensor(indices).flatten().long())
    return left.view(tuple(final)) if final else left


def _statistics(modules: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Batch-norm statistics, which a recipe lists as attributes of modules, by their names in the state dict."""
    return {
        f"{module}.{attribute}": value
        for module, attributes in modules.items()
        for attribute, value in attributes.items()
        if attribute in ("running_mean", "running_var")
    }
