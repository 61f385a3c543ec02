"""Masks from learned scores, by the rules of the programs that learn them. Densities are fractions kept, 0..1."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from lth.pruning.topk import largest


def layers_with(state: Mapping[str, Tensor], suffix: str) -> dict[str, Tensor]:
    """Weight name -> the tensor stored as `suffix` in the same layer."""
    end = f".{suffix}"
    return {
        f"{n.removesuffix(end)}.weight": t
        for n, t in state.items()
        if n.endswith(end) and f"{n.removesuffix(end)}.weight" in state
    }


def largest_by_layer(scores: Mapping[str, Tensor], density: float) -> dict[str, Tensor]:
    """Prune the int((1 - density) n) smallest magnitudes of each layer of n weights (edge-popup, hidden-networks)."""
    return {n: largest({n: s.abs()}, s.numel() - int((1 - density) * s.numel()))[n] for n, s in scores.items()}


def above_global(scores: Mapping[str, Tensor], density: float) -> dict[str, Tensor]:
    """Keep magnitudes above the c-th smallest of all N weights, c = ceil((1 - density) N) (global edge-popup)."""
    together = torch.cat([score.abs().flatten() for score in scores.values()])
    c = math.ceil(round((1 - density) * together.numel(), 6))
    threshold = together.sort().values[c - 1] if c else together.min() - 1
    return {name: score.abs() > threshold for name, score in scores.items()}


def given_density(density: float | None, why: str) -> float:
    """`density`, checked: the file does not store it. Raises ValueError for None and for values outside (0, 1].

    why: beginning of the message, e.g. "an edge-popup checkpoint needs"
    """
    if density is None or not 0 < density <= 1:
        raise ValueError(f"density={density}: {why} the fraction of weights kept, 0..1, which the file does not hold")
    return density
