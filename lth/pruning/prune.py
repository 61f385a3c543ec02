"""Pruning to an exact count: scores of a criterion, counts of an allocation, masks."""

import logging
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lth.pruning.allocation import Allocation, check_density, count_kept, global_
from lth.pruning.criteria import magnitude
from lth.pruning.criterion import Batches, Criterion, GivenBatches, Scores
from lth.pruning.masks import Masks
from lth.pruning.position import Placement, by_score
from lth.pruning.restore import preserved
from lth.pruning.topk import Ranked, largest_of_each

log = logging.getLogger(__name__)


def prune(
    net: nn.Module,
    masks: Masks,
    density: float,
    criterion: Criterion = magnitude,
    allocation: Allocation = global_,
    batches: Batches | Iterable[Any] | None = None,
    rounds: int = 1,
    placement: Placement = by_score,
    exact: bool = True,
) -> Masks:
    """New masks within `masks` that keep exactly round(density * total) weights.

    Pruned weights never come back. `net` is restored afterwards; the caller zeroes its pruned weights.
      density: fraction of prunable weights kept, over 0 and at most 1
      criterion: scores the weights; the largest are kept
      allocation: how many weights each layer keeps
      batches: data for criteria that need it: an iterable of (inputs, labels), whose loss is cross-entropy, or
        `Batches`, such as `GivenBatches(iterable, loss=function)`; SynFlow uses only the shape of an input
      rounds: number of times that weights are scored and pruned, at densities in equal ratios (SynFlow: 100)
      placement: positions of the kept weights in each layer: `by_score` (the largest scores), or a random placement
        such as `partial(shuffled, seed=1)` (`lth.pruning.position`)
      exact: True raises ValueError if the allocation misses the number of weights; False logs a warning, and accepts
        `masks` that an inexact allocation (`as_published`) has left with fewer weights than `density` asks for
    Raises ValueError if `masks` already keep fewer weights, `exact` is True and `placement` is `by_score`.
    """
    if rounds < 1:
        raise ValueError(f"rounds {rounds} must be 1 or more")
    kept, target, data = masks.kept, _target(masks, density), GivenBatches.of(batches)
    by_scores = getattr(placement, "func", placement) is by_score
    if target > kept and exact and by_scores:
        raise ValueError(f"density {density} asks for {target} weights, but masks keep only {kept}: nothing grows here")
    if target == kept or (target > kept and exact):  # a random placement may have kept fewer than it was asked for
        return masks.clone()
    start, before, masks, ranked = kept / masks.total, masks, masks.clone(), Ranked()
    for i in range(1 if target < kept else rounds, rounds + 1):
        rung = density if i == rounds else start * (density / start) ** (i / rounds)
        with preserved(net):
            scores = criterion(net, masks, data)
        ranked = _keep(scores, masks, rung, allocation, exact, ranked)
    if not exact and masks.kept != target:
        log.warning("the allocation keeps %d weights at density %g, not %d", masks.kept, density, target)
    return placement(before, masks)


def _target(masks: Masks, density: float) -> int:
    """The number of weights kept at `density`. Raises ValueError if it is zero, or `density` lies outside (0, 1]."""
    check_density(density)
    target = count_kept(density, masks.total)
    if target == 0:
        raise ValueError(f"density {density} keeps none of {masks.total} weights")
    return target


def _keep(
    scores: Scores, masks: Masks, density: float, allocation: Allocation, exact: bool, used: Mapping[str, Tensor]
) -> Ranked:
    """Shrink `masks` in place. Returns the scores with pruned weights at -inf.

    used: tensors by layer that are overwritten with these scores, to save their allocation; may be empty
    """
    if not isinstance(scores, Mapping):
        raise ValueError(f"the criterion returned a {type(scores).__name__}; it must return {{parameter name: scores}}")
    # without this check a score of another shape would be broadcast
    masks.check_fit({name: score.shape for name, score in scores.items()}, "the criterion's scores", extra_allowed=True)
    ranked = Ranked({name: _within(scores[name], mask, used.get(name)) for name, mask in masks.items()})
    counts = allocation(ranked, density)
    target = count_kept(density, masks.total)
    if exact and sum(counts.values()) != target:
        raise ValueError(f"the allocation kept {sum(counts.values())} weights at density {density}, not {target}")
    marked = largest_of_each(ranked, counts)
    assert all(int(torch.count_nonzero(m)) == counts[name] for name, m in marked.items()), "miscounted"
    masks.copy_(marked)
    return ranked


def _within(score: Tensor, mask: Tensor, used: Tensor | None) -> Tensor:
    """Scores with pruned weights at -inf, so that kept weights of score 0 rank above them."""
    score = score.detach() if score.is_floating_point() else score.detach().double()
    pruned = torch.tensor(-torch.inf, dtype=score.dtype, device=score.device)
    if used is None or used.dtype != score.dtype or used.device != score.device:
        used = torch.empty_like(score)
    return torch.where(mask.bool(), score, pruned, out=used)
