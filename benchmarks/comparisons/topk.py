"""Exact global selection of the largest fifth of 25.5 million scores, in the shapes of ResNet-50's 54 weights."""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from benchmarks.clock import timed
from benchmarks.interleave import Arm, Comparison
from benchmarks.setting import Setting
from lth import networks
from lth.pruning import prunable
from lth.pruning.topk import largest

KEPT = 0.2
Scores = dict[str, Tensor]
Way = Callable[[Scores, int], Scores]


def by_topk(scores: Tensor, k: int) -> Tensor:
    """The k-th largest score by torch.topk, unsorted."""
    return scores.topk(k, sorted=False).values.min()


def by_kthvalue(scores: Tensor, k: int) -> Tensor:
    """The k-th largest score by torch.kthvalue, which counts from below."""
    return scores.kthvalue(len(scores) - k + 1).values


def by_sort(scores: Tensor, k: int) -> Tensor:
    """The k-th largest score by a full sort."""
    return scores.sort(descending=True).values[k - 1]


THRESHOLDS = {"torch.topk": by_topk, "torch.kthvalue": by_kthvalue, "torch.sort": by_sort}


def comparisons(setting: Setting) -> Iterator[Comparison]:
    """Masks of the largest scores. All arms are checked to give the same masks before the timing."""
    scores = made_scores(setting)
    k = round(KEPT * sum(map(torch.numel, scores.values())))
    ways: dict[str, Way] = {"lth": largest, **{name: partial(by_threshold, find) for name, find in THRESHOLDS.items()}}
    check_equal({name: way(scores, k) for name, way in ways.items()})
    arms = [Arm(name, partial(timed, partial(way, scores, k), setting.device)) for name, way in ways.items()]
    title = f"{sum(map(torch.numel, scores.values())):,} scores"
    yield Comparison(title, arms, aim="lth under 0.2 s on one core")


def made_scores(setting: Setting) -> Scores:
    """Name -> magnitudes of normally distributed weights of a ResNet-50; of a ResNet-20 if quick."""
    build = networks.resnet20 if setting.quick else networks.resnet50
    with torch.device("meta"):  # only the shapes are used
        weights = prunable(build(classes=1000, channels=3, image_size=224))
    torch.manual_seed(0)
    return {name: torch.randn(weight.shape, device=setting.device).abs() for name, weight in weights.items()}


def by_threshold(find: Callable[[Tensor, int], Tensor], scores: Scores, k: int) -> Scores:
    """Masks of the `k` largest scores: those above the k-th largest, and the first of those equal to it.

    find: function of (1-D scores, k) that returns the k-th largest
    """
    flat = torch.cat([score.flatten() for score in scores.values()])
    threshold = find(flat, k)
    keep = flat > threshold
    ties = (flat == threshold).nonzero().squeeze(1)
    keep[ties[: k - int(keep.sum())]] = True
    parts = keep.split([score.numel() for score in scores.values()])
    return {name: part.view(scores[name].shape) for name, part in zip(scores, parts, strict=True)}


def check_equal(masks: dict[str, Scores]) -> None:
    """Raise AssertionError unless all ways give the same masks."""
    first, *others = masks.values()
    assert all(torch.equal(first[name], other[name]) for other in others for name in first), "the ways differ"
