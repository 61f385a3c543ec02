"""Global and uniform allocations, and allocations that fix the densities of some layers."""

import math
from collections.abc import Callable, Mapping, Sequence

from lth.pruning.allocation.counts import amount, apportion, available, check_density, count_kept
from lth.pruning.prunable import names_matching
from lth.pruning.topk import Scores, counts_of_largest

Allocation = Callable[[Scores, float], dict[str, int]]


def global_(scores: Scores, density: float) -> dict[str, int]:
    """Each layer keeps as many weights as it has among the largest scores of the whole network."""
    return counts_of_largest(scores, count_kept(density, sum(score.numel() for score in scores.values())))


def uniform(scores: Scores, density: float) -> dict[str, int]:
    """The same density in every layer."""
    shares = {name: float(score.numel()) for name, score in scores.items()}
    return apportion(shares, amount(scores, density), available(scores))


def fixing(
    scores: Scores,
    density: float,
    *,
    base: Allocation,
    layers: Mapping[str, float] | None = None,
    dense: Sequence[str] = (),
) -> dict[str, int]:
    """Some layers at densities of their own, the others by `base` with the rest of the budget.

      base: allocation of the other layers
      layers: name pattern (as in `prunable`) -> density
      dense: patterns of layers that keep every weight not pruned already; they count against the budget, unlike layers
        excluded from the masks
    Raises ValueError for a pattern that matches nothing, and if the fixed layers leave no budget.
    """
    fixed = _fixed(list(scores), {**(layers or {}), **dict.fromkeys(dense, 1.0)})
    if not fixed:
        return base(scores, density)
    rest = {name: score for name, score in scores.items() if name not in fixed}
    capacity = available({name: scores[name] for name in fixed})
    held = {name: min(float(capacity[name]), d * scores[name].numel()) for name, d in fixed.items()}
    left = amount(scores, density) - sum(held.values())
    size = sum(score.numel() for score in rest.values())
    if not 0 < left <= size:
        raise ValueError(f"density {density} leaves {left:g} weights to {size} others beside the fixed layers {fixed}")
    counts = {name: math.floor(number + 0.5) for name, number in held.items()}
    total = count_kept(density, sum(score.numel() for score in scores.values()))
    counts |= apportion(base(rest, left / size), total - sum(counts.values()), available(rest))
    return {name: counts[name] for name in scores}


def uniform_plus(scores: Scores, density: float, *, head: float = 0.2, as_published: bool = False) -> dict[str, int]:
    """First layer dense, classifier at `head` or more, one density for the rest (Liu et al., arXiv 2202.02643).

    head: least density of the classifier
    as_published: the released formula, which misses the total: under density `head` it divides by all weights and keeps
        slightly too few; from `head` on it does not subtract the dense first layer and keeps too many
    """
    if not as_published:
        return fixing(scores, density, base=uniform, layers={"@first": 1.0, "@head": max(density, head)})
    sizes = {name: score.numel() for name, score in scores.items()}
    first, *_, last = sizes
    real = {name: density * n for name, n in sizes.items()} | {first: float(sizes[first])}
    if density < head:
        rest = (amount(scores, density) - sizes[first] - head * sizes[last]) / sum(sizes.values())
        real = {name: rest * n for name, n in sizes.items()} | {first: float(sizes[first]), last: head * sizes[last]}
    return apportion(real, sum(real.values()), available(scores))


def _fixed(names: list[str], layers: Mapping[str, float]) -> dict[str, float]:
    fixed: dict[str, float] = {}
    for pattern, density in layers.items():
        matched = names_matching(pattern, names)
        if not matched:
            raise ValueError(f"pattern {pattern!r} matches none of the layers {names}")
        fixed |= dict.fromkeys(matched, check_density(density))
    return fixed
