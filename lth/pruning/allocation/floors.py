"""Allocations with a floor under some layers."""

from lth.pruning.allocation.counts import apportion, available
from lth.pruning.allocation.whole import Allocation, fixing, global_, uniform
from lth.pruning.topk import Scores


def with_floor(scores: Scores, density: float, *, base: Allocation = global_, at_least: int = 1) -> dict[str, int]:
    """The counts of `base`, but no layer keeps fewer than `at_least` weights while another has some to give."""
    counts = base(scores, density)
    shares = {name: float(count) for name, count in counts.items()}
    return apportion(shares, sum(counts.values()), available(scores), at_least)


def uniform_head(scores: Scores, density: float, *, head: float = 0.2) -> dict[str, int]:
    """The same density in every layer, the classifier's never under `head` (GraNet-uniform, arXiv 2106.10404)."""
    return (
        fixing(scores, density, base=uniform, layers={"@head": max(density, head)})
        if density < 1
        else uniform(scores, 1)
    )
