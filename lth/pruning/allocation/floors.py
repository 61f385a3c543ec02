"""Allocations with a minimum for some layers."""

from lth.pruning.allocation.counts import apportion, available, count_kept
from lth.pruning.allocation.global_uniform import Allocation, global_
from lth.pruning.topk import Scores


def with_floor(scores: Scores, density: float, *, base: Allocation = global_, at_least: int = 1) -> dict[str, int]:
    """The counts of `base`, with at least `at_least` weights in every layer if the total allows it."""
    counts = base(scores, density)
    shares = {name: float(count) for name, count in counts.items()}
    return apportion(shares, sum(counts.values()), available(scores), at_least)


def uniform_head(scores: Scores, density: float, *, head: float = 0.2) -> dict[str, int]:
    """The same density in every layer, but at least `head` in the classifier (GraNet-uniform, arXiv 2106.10404)."""
    *others, last = scores
    capacity, total = available(scores), count_kept(density, sum(score.numel() for score in scores.values()))
    wanted = count_kept(max(density, head), scores[last].numel())
    # at least what the other layers cannot hold
    kept = min(capacity[last], max(wanted, total - sum(capacity[name] for name in others)))
    if kept >= total:
        raise ValueError(f"density {density} does not leave a weight beside the classifier's {kept}")
    shares = {name: float(scores[name].numel()) for name in others}
    return apportion(shares, total - kept, {name: capacity[name] for name in others}) | {last: kept}
