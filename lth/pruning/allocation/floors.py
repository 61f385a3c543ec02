"""Allocations with a floor under some layers."""

from lth.pruning.allocation.counts import apportion, available, count_kept
from lth.pruning.allocation.global_uniform import Allocation, global_
from lth.pruning.topk import Scores


def with_floor(scores: Scores, density: float, *, base: Allocation = global_, at_least: int = 1) -> dict[str, int]:
    """The counts of `base`, but no layer keeps fewer than `at_least` weights while another has some to give."""
    counts = base(scores, density)
    shares = {name: float(count) for name, count in counts.items()}
    return apportion(shares, sum(counts.values()), available(scores), at_least)


def uniform_head(scores: Scores, density: float, *, head: float = 0.2) -> dict[str, int]:
    """The same density in every layer, the classifier's never under `head` (GraNet-uniform, arXiv 2106.10404)."""
    *others, last = scores
    room, total = available(scores), count_kept(density, sum(score.numel() for score in scores.values()))
    wanted = count_kept(max(density, head), scores[last].numel())
    kept = min(room[last], max(wanted, total - sum(room[name] for name in others)))  # what the others cannot hold
    if kept >= total:
        raise ValueError(f"density {density} does not leave a weight beside the classifier's {kept}")
    shares = {name: float(scores[name].numel()) for name in others}
    return apportion(shares, total - kept, {name: room[name] for name in others}) | {last: kept}
