"""Ladders: the densities of an experiment's levels, beginning with the density of the start."""

import math
from collections.abc import Sequence
from itertools import pairwise

from lth.pruning.allocation import check_density

_TOLERANCE = 1e-9  # relative; 0.8 * 0.8 is above 0.64, but must count as 0.64
_ENDS = ("exact", "overshoot")
_MOST_LEVELS = 1000


def geometric(
    density: float | None = None,
    rate: float | None = 0.2,
    levels: int | None = None,
    end: str = "exact",
    start: float = 1.0,
) -> list[float]:
    """Remove the fraction `rate` of the remaining weights at each level (Frankle & Carbin, ICLR 2019).

    `geometric(density=0.044)` is 1, 0.8, 0.64, ..., 0.055, 0.044. Give two of the first three arguments;
    `geometric(0.1, rate=None, levels=5)` takes equal ratios.
      density: the final density
      rate: fraction removed per level, over 0 and under 1
      levels: number of prunings after the start
      end: with density and rate, the last level is `exact` (the density asked for) or `overshoot` (the first
        start * (1 - rate)^i at or below it)
      start: density of the first level
    Raises ValueError unless two of density, rate and levels are given, and for values out of range.
    """
    check_density(start)
    if [density, rate, levels].count(None) != 1:
        raise ValueError(
            f"a geometric ladder takes two of density={density}, rate={rate}, levels={levels}: "
            "set the third to null (None in Python)"
        )
    if end not in _ENDS:
        raise ValueError(f"sparsity.end={end!r} is not one of {_ENDS}")
    if rate is not None and not 0 < rate < 1:
        raise ValueError(f"sparsity.rate={rate}: must be a number over 0 and under 1")
    if density is not None:
        _check_below(density, start)
    if levels is not None:
        _check_levels(levels)
        ratio = 1 - rate if rate is not None else (_given(density) / start) ** (1 / levels)
        ladder = [start * ratio**i for i in range(levels + 1)]
        return ladder if density is None else [*ladder[:-1], density]
    return _down_to(_given(density), _given(rate), end, start)


def linear(density: float, levels: int, start: float = 1.0) -> list[float]:
    """Remove the same number of weights at each of `levels` prunings, down to exactly `density`.

    density: the final density, over 0 and at most `start`
    levels: number of prunings after the start, 1 to 1000
    start: density of the first level

    Raises ValueError for values out of range.
    """
    _check_below(density, check_density(start))
    _check_levels(levels)
    return [start + (density - start) * i / levels for i in range(levels)] + [density]


def annealed(density: float, levels: int, above: float = 0.6, start: float = 1.0) -> list[float]:
    """`levels` densities after the start, in equal ratios from `above` down to `density`, at most `start`.

    Each ratio multiplies the clipped density of the level before (edge-popup in random networks, arXiv 2210.02412).

    density: the final density
    levels: number of densities after the start, 1 to 1000
    above: density that the first ratio multiplies; at least `density`, and not itself a level
    start: density of the first level
    """
    _check_below(density, check_density(start))
    _check_levels(levels)
    if check_density(above) < density:
        raise ValueError(f"above {above} must not be under the final density {density}")
    ratio, ladder, at = (density / above) ** (1 / levels), [start], above
    for _ in range(levels):
        at = max(min(at * ratio, start), density)
        ladder.append(at)
    return [*ladder[:-1], density]


def unpruned(density: float | None = None, start: float = 1.0) -> list[float]:
    """No pruning: one level, the start."""
    if density not in (None, start):
        raise ValueError(f"density {density} would need a pruning; this ladder has none (sparsity=one_shot has one)")
    return [check_density(start)]


def one_shot(density: float | None, start: float = 1.0, emerges: bool = False) -> list[float]:
    """One pruning, straight to `density`. emerges: whether `density` may be None, which prunes nothing."""
    if density is None and emerges:
        return unpruned(start=start)
    final = check_density(density)
    _check_below(final, check_density(start))
    return [start, final]


def listed(densities: Sequence[float], density: float | None = None, start: float = 1.0) -> list[float]:
    """The start and then `densities`, strictly falling. A final `density` replaces those at or below it."""
    rungs = [check_density(d) for d in densities]
    if not rungs and density is None:
        raise ValueError("sparsity.densities=[]: a list ladder needs at least one density")
    if len(rungs) > _MOST_LEVELS:
        raise ValueError(f"sparsity.densities has {len(rungs)} entries: valid are at most {_MOST_LEVELS}")
    rungs = rungs if rungs[:1] == [check_density(start)] else [start, *rungs]
    rising = [(a, b) for a, b in pairwise(rungs) if b >= a]
    if rising:
        raise ValueError(f"a ladder must fall: {rising[0][0]} is followed by {rising[0][1]} in {list(densities)}")
    if density is None:
        return rungs
    _check_below(density, start)
    return [*(d for d in rungs if d > density), density]


def _down_to(density: float, rate: float, end: str, start: float) -> list[float]:
    prunings = max(0.0, math.log(density / start) / math.log1p(-rate) - _TOLERANCE)
    if prunings > _MOST_LEVELS:
        raise ValueError(
            f"sparsity.rate={rate}: the way from density {start:g} to {density:g} would have {prunings:.3g} levels; "
            f"valid are rates with at most {_MOST_LEVELS}"
        )
    count = math.ceil(prunings)
    ladder = [start * (1 - rate) ** i for i in range(count + 1)]
    return [*ladder[:-1], density] if end == "exact" and count else ladder


def _check_below(density: float, start: float) -> None:
    if check_density(density) > start * (1 + _TOLERANCE):
        raise ValueError(f"density {density} is above the ladder's start {start}: a ladder must fall")


def _check_levels(levels: int) -> None:
    if not isinstance(levels, int) or isinstance(levels, bool) or not 1 <= levels <= _MOST_LEVELS:
        raise ValueError(f"sparsity.levels={levels}: must be a whole number of at least 1 and at most {_MOST_LEVELS}")


def _given(value: float | None) -> float:
    assert value is not None
    return value
