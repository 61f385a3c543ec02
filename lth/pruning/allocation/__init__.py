"""Allocations: how many weights each layer keeps at a density.

All have the signature `(scores, density) -> {layer: count}`. Scores give the shapes, and are -inf at weights that are
pruned already. Counts sum to round(density * total), except with `as_published`, or with `ends` of `smart_ratio`.
"""

from lth.pruning.allocation.counts import apportion, check_density, count_kept, fill
from lth.pruning.allocation.erdos_renyi import balanced, er, erk, erk_plus, pyramid
from lth.pruning.allocation.floors import uniform_head, with_floor
from lth.pruning.allocation.given import from_densities, in_proportion
from lth.pruning.allocation.global_uniform import Allocation, fixing, global_, uniform, uniform_plus
from lth.pruning.allocation.smart_ratio import smart_ratio

__all__ = [
    "Allocation",
    "apportion",
    "balanced",
    "check_density",
    "count_kept",
    "er",
    "erk",
    "erk_plus",
    "fill",
    "fixing",
    "from_densities",
    "global_",
    "in_proportion",
    "pyramid",
    "smart_ratio",
    "uniform",
    "uniform_head",
    "uniform_plus",
    "with_floor",
]
