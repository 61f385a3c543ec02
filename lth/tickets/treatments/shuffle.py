"""Shuffled masks: kept positions are permuted, counts stay (arXiv 2009.11094, 2009.08576)."""

import torch
from torch import Tensor

from lth.pruning.seeds import generator
from lth.pruning.topk import Scores
from lth.tickets.treatments._treatment import Draw, State


def shuffle_layers(
    masks: State, weights: State, draw: Draw | None = None, seed: int = 0, scores: Scores | None = None
) -> tuple[State, State]:
    """Masks permuted within each layer, whose count stays the same."""
    return {n: _permuted(m.bool().reshape(1, -1), n, seed).view(m.shape) for n, m in masks.items()}, dict(weights)


def shuffle_filters(
    masks: State, weights: State, draw: Draw | None = None, seed: int = 0, scores: Scores | None = None
) -> tuple[State, State]:
    """Masks permuted within each filter (the weights of one output), whose count stays the same."""
    return {n: _permuted(m.bool().flatten(1), n, seed).view(m.shape) for n, m in masks.items()}, dict(weights)


def _permuted(rows: Tensor, name: str, seed: int) -> Tensor:
    """Each row permuted independently."""
    draws = torch.rand(rows.shape, generator=generator("shuffle", seed, name), dtype=torch.float64)
    return rows.gather(1, draws.argsort(1).to(rows.device))
