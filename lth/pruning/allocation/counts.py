"""Integer counts of kept weights: rounding, and water-filling of layers up to their capacity."""

import math
from collections.abc import Mapping

import torch

from lth.pruning.topk import Scores


def check_density(density: float | None) -> float:
    """Return `density`. Raises ValueError for None and for numbers outside of (0, 1], such as a percentage."""
    if not (isinstance(density, int | float) and 0 < density <= 1):
        hint = f" (did you mean {density / 100:g}?)" if isinstance(density, int | float) and 1 < density <= 100 else ""
        raise ValueError(f"density {density!r} must be a fraction of weights kept, over 0 and at most 1{hint}")
    return density


def count_kept(density: float, total: int) -> int:
    """density * total, rounded to the nearest whole number, halves up. Raises ValueError as `check_density`."""
    return math.floor(check_density(density) * total + 0.5)


def amount(scores: Scores, density: float) -> float:
    """density * total, not rounded: the weights an allocation distributes."""
    return check_density(density) * sum(score.numel() for score in scores.values())


def available(scores: Scores) -> dict[str, int]:
    """How many weights of each layer are not pruned already."""
    # not `score > -inf`, which would take a NaN for a pruned weight; selection raises an error that names its layer
    return {name: int(torch.count_nonzero(score != -torch.inf)) for name, score in scores.items()}


def apportion(
    shares: Mapping[str, float], amount: float, capacity: Mapping[str, int], at_least: int = 0
) -> dict[str, int]:
    """Integer counts in proportion to `shares` that sum to round(amount), by largest remainder (ties: earlier layer).

      shares: of each layer, in any unit
      amount: number of weights
      capacity: the most that each layer can hold; what exceeds it goes to the others in proportion to their shares
      at_least: the fewest weights of a layer, if capacity and amount allow it
    Raises ValueError if the layers cannot hold the amount.
    """
    total = math.floor(amount + 0.5)
    if total > sum(capacity.values()):
        raise ValueError(f"cannot keep {total} weights where only {sum(capacity.values())} are left: {dict(capacity)}")
    real = fill(shares, min(amount, sum(capacity.values())), capacity)
    counts = {name: min(math.floor(value + 1e-9), capacity[name]) for name, value in real.items()}
    by_fraction = sorted(real, key=lambda name: counts[name] - real[name])
    while (missing := total - sum(counts.values())) > 0:
        for name in [n for n in by_fraction if counts[n] < capacity[n]][:missing]:
            counts[name] += 1
    return _raise_to(counts, at_least, capacity)


def fill(shares: Mapping[str, float], amount: float, capacity: Mapping[str, int]) -> dict[str, float]:
    """Scale shares to sum to `amount`, with full layers fixed at their capacity (water-filling).

    With shares sum(shape) this is the Erdos-Renyi-kernel allocation, with equal shares the balanced one. Counts are
    real numbers and do not depend on the order of layers. Where all layers are full, they sum to less than `amount`.
    """
    full: set[str] = set()
    while True:
        free = amount - sum(capacity[n] for n in full)
        weight = sum(shares[n] for n in shares if n not in full)
        scale = free / weight if weight > 0 else 0.0
        over = {n for n in shares if n not in full and scale * shares[n] > capacity[n]}
        if not over:
            return {n: capacity[n] if n in full else scale * shares[n] for n in shares}
        full |= over


def _raise_to(counts: dict[str, int], at_least: int, capacity: Mapping[str, int]) -> dict[str, int]:
    """Move weights one by one from the largest count to layers below `at_least`, while the largest is above it."""
    for name in counts:
        while counts[name] < min(at_least, capacity[name]):
            richest = max(counts, key=lambda n: counts[n])
            if counts[richest] <= at_least:
                return counts
            counts[richest] -= 1
            counts[name] += 1
    return counts
