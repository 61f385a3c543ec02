"""Whole counts of kept weights: rounding, and water-filling where a layer is full."""

import math
from collections.abc import Mapping

import torch

from lth.pruning.topk import Scores


def check_density(density: float) -> float:
    """Return `density` if it is a fraction in (0, 1]; anything else, a percent above all, is refused."""
    if not (isinstance(density, int | float) and 0 < density <= 1):
        hint = f" (did you mean {density / 100:g}?)" if isinstance(density, int | float) and 1 < density <= 100 else ""
        raise ValueError(f"density {density!r} must be a fraction of weights kept, over 0 and at most 1{hint}")
    return density


def count_kept(density: float, total: int) -> int:
    """round(density * total), halves up: how many of `total` weights are kept."""
    return math.floor(check_density(density) * total + 0.5)


def amount(scores: Scores, density: float) -> float:
    """density * total, the real number of weights an allocation shares out."""
    return check_density(density) * sum(score.numel() for score in scores.values())


def available(scores: Scores) -> dict[str, int]:
    """How many weights of each layer may be kept: those not pruned already."""
    # not `score > -inf`: a NaN is no pruned weight, and the selection that follows refuses it by its layer's name
    return {name: int(torch.count_nonzero(score != -torch.inf)) for name, score in scores.items()}


def apportion(
    shares: Mapping[str, float], amount: float, capacity: Mapping[str, int], at_least: int = 0
) -> dict[str, int]:
    """Whole counts near `shares` scaled to `amount`, that sum to exactly round(amount), none over `capacity`.

    Floors first, then one more to the largest fractional parts (ties: earlier layer); what a full layer cannot take
    goes to the others in proportion to their shares. at_least: the fewest a layer keeps, where capacity and total
    allow it. Raises ValueError when the layers cannot hold the amount.
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
    """Scale shares to `amount`, full layers fixed at their capacity (water-filling); the order of layers is no matter.

    With shares sum(shape) this is the Erdos-Renyi-kernel allocation, with equal shares the balanced one.
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
    """Move single weights from the largest counts to layers under the floor; stops when nothing is left to give."""
    for name in counts:
        while counts[name] < min(at_least, capacity[name]):
            richest = max(counts, key=lambda n: counts[n])
            if counts[richest] <= at_least:
                return counts
            counts[richest] -= 1
            counts[name] += 1
    return counts
