"""Allocations: how many weights each layer keeps at a density. All have one signature and return exact counts."""

import math
from collections.abc import Mapping

import torch

from lth.pruning.topk import Scores, counts_of_largest


def check_density(density: float) -> float:
    """Return `density` if it is a fraction in (0, 1]; anything else, a percent above all, is refused."""
    if not (isinstance(density, int | float) and 0 < density <= 1):
        hint = f" (did you mean {density / 100:g}?)" if isinstance(density, int | float) and 1 < density <= 100 else ""
        raise ValueError(f"density {density!r} must be a fraction of weights kept, over 0 and at most 1{hint}")
    return density


def count_kept(density: float, total: int) -> int:
    """round(density * total), halves up: how many of `total` weights are kept."""
    return math.floor(check_density(density) * total + 0.5)


def global_(scores: Scores, density: float) -> dict[str, int]:
    """All layers compete: each keeps what it holds of the largest scores of the whole network."""
    return counts_of_largest(scores, count_kept(density, _total(scores)))


def uniform(scores: Scores, density: float) -> dict[str, int]:
    """The same density in every layer."""
    shares = {name: density * score.numel() for name, score in scores.items()}
    return apportion(shares, count_kept(density, _total(scores)), _available(scores))


def apportion(shares: Mapping[str, float], total: int, capacity: Mapping[str, int]) -> dict[str, int]:
    """Whole counts near real-valued `shares` that sum to exactly `total`, none over its layer's `capacity`.

    Floors first, then one more to the largest fractional parts (ties: earlier layer); what a full layer cannot take
    goes to the others in proportion to their shares. Raises ValueError when the layers cannot hold `total`.
    """
    if total > sum(capacity.values()):
        raise ValueError(f"cannot keep {total} weights where only {sum(capacity.values())} are left: {dict(capacity)}")
    real = _fill(shares, total, capacity)
    counts = {name: min(math.floor(value + 1e-9), capacity[name]) for name, value in real.items()}
    by_fraction = sorted(real, key=lambda name: counts[name] - real[name])
    while (missing := total - sum(counts.values())) > 0:
        for name in [n for n in by_fraction if counts[n] < capacity[n]][:missing]:
            counts[name] += 1
    return counts


def _fill(shares: Mapping[str, float], total: float, capacity: Mapping[str, int]) -> dict[str, float]:
    """Scale shares to `total`, full layers fixed at their capacity (water-filling)."""
    full: set[str] = set()
    while True:
        free = total - sum(capacity[n] for n in full)
        weight = sum(shares[n] for n in shares if n not in full)
        scale = free / weight if weight > 0 else 0.0
        over = {n for n in shares if n not in full and scale * shares[n] > capacity[n]}
        if not over:
            return {n: capacity[n] if n in full else scale * shares[n] for n in shares}
        full |= over


def _total(scores: Scores) -> int:
    return sum(score.numel() for score in scores.values())


def _available(scores: Scores) -> dict[str, int]:
    # not `score > -inf`: a NaN is no pruned weight, and the selection that follows refuses it by its layer's name
    return {name: int(torch.count_nonzero(score != -torch.inf)) for name, score in scores.items()}
