"""The only place where masks are made from scores."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from lth.pruning.allocation import check_density, count_kept
from lth.pruning.criterion import Batches, Criterion, Scores
from lth.pruning.masks import Masks
from lth.pruning.purity import untouched
from lth.pruning.topk import largest

Allocation = Callable[[Scores, float], dict[str, int]]


def prune(
    net: nn.Module,
    masks: Masks,
    density: float,
    criterion: Criterion,
    allocation: Allocation,
    batches: Batches | None = None,
    rounds: int = 1,
) -> Masks:
    """New masks inside `masks` that keep exactly round(density * total) weights.

    `rounds` > 1 scores again under the shrinking masks, on an exponential path from the present density to the new
    one (SynFlow's 100 rounds). Pruned weights never come back. `net` is left untouched: the caller zeroes its weights.
    Raises ValueError when masks already keep fewer weights, or an allocation misses the count.
    """
    check_density(density)
    if rounds < 1:
        raise ValueError(f"rounds {rounds} must be 1 or more")
    kept, target = masks.kept, count_kept(density, masks.total)
    if target > kept:
        raise ValueError(f"density {density} asks for {target} weights, but masks keep only {kept}: nothing grows here")
    if target == kept:
        return masks.clone()
    start = kept / masks.total
    for i in range(1, rounds + 1):
        rung = density if i == rounds else start * (density / start) ** (i / rounds)
        with untouched(net):
            scores = criterion(net, masks, batches)
        masks = _keep(scores, masks, rung, allocation)
    return masks


def _keep(scores: Scores, masks: Masks, density: float, allocation: Allocation) -> Masks:
    # a score of another shape would be broadcast over pruned layers, and miscounted over whole ones
    masks.check_fit({name: score.shape for name, score in scores.items()}, "the criterion's scores", extra_allowed=True)
    ranked = {name: _within(scores[name], mask) for name, mask in masks.items()}
    counts = allocation(ranked, density)
    target = count_kept(density, masks.total)
    if sum(counts.values()) != target:
        raise ValueError(f"the allocation kept {sum(counts.values())} weights at density {density}, not {target}")
    new = masks.clone()
    new.copy_({name: largest({name: score}, counts[name])[name] for name, score in ranked.items()})
    assert new.kept == target, f"{new.kept} weights kept, not {target}"
    return new


def _within(score: Tensor, mask: Tensor) -> Tensor:
    """Scores with pruned weights at -inf, below every kept weight, kept weights of score 0 included."""
    kept = mask.bool()
    return score.detach() if bool(kept.all()) else torch.where(kept, score.detach(), -torch.inf)
