"""Distiller's published schedules leave as many weights and multiply-adds as their comments say."""

import pytest
import torch
from hydra.utils import instantiate

from docs import recipes
from lth.analysis.layers import uses_per_image
from lth.networks import resnet20, resnet56
from lth.pruning import Masks
from lth.pruning.structured.coupling import coupled_layers
from lth.pruning.structured.schedule_rule import ScheduleRule
from lth.pruning.structured.thin import thin

SHAPE = 3, 32, 32
PUBLISHED = {  # weights that are left, multiply-adds of the thinned network
    "distiller/resnet20_cifar10_agp": (resnet20, 120_000, 30.66e6),
    "distiller/resnet20_cifar10_agp_bn_fold": (resnet20, 120_000, 30.66e6),
    "distiller/resnet20_cifar10_agp_2": (resnet20, 143_488, 30.64e6),
    "distiller/resnet20_cifar10_agp_3": (resnet20, 96_960, None),  # 30.43 M: some filters lost all weights
    "distiller/resnet20_cifar10_agp_4": (resnet20, 78_776, 24_723_776),
    "distiller/resnet56_cifar10_filters": (resnet56, None, 78_856_832),
    "distiller/resnet56_cifar10_filters_v2": (resnet56, None, 67_797_632),
}


class Shape:
    image_shape = SHAPE


def scheduled(net, name: str) -> Masks:
    """The masks at the end of the recipe's schedule, no step trained."""
    cfg = recipes.configuration(name)
    rules = {
        n: ScheduleRule.of(**instantiate(r, _convert_="all")) for n, r in cfg.method.rules.items() if r is not None
    }
    masks, sets = Masks.ones(net), coupled_layers(net, SHAPE)
    groups = {n: rule.selection.groups(masks, sets) for n, rule in rules.items()}
    gone: dict[str, list[int]] = {}
    for epoch in range(cfg.recipe.epochs):
        for n, rule in rules.items():
            firings = rule.timing.firings(cfg.recipe.epochs)
            if epoch in firings.epochs:
                gone.setdefault(n, [int(group.removed(masks).sum()) for group in groups[n]])
                scores = rule.ranking.scores(net, masks, groups[n], Shape(), 0)
                masks.copy_(rule.removal.prune(masks, groups[n], scores, firings.progress(epoch), gone[n]))
    return masks


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_a_schedule_leaves_what_was_published(name):
    make, weights, multiply_adds = PUBLISHED[name]
    torch.manual_seed(0)
    net = make(10, 3, 32)
    masks = scheduled(net, name)
    small = thin(net, masks, SHAPE)  # untrained batch norms send nothing on
    named = dict(small.net.named_parameters())
    macs = sum(named[n].numel() * times for n, times in uses_per_image(small.net, SHAPE).items())
    if multiply_adds:
        assert round(macs, 0 if multiply_adds % 1000 else -4) == multiply_adds
    if weights:
        assert sum(int(mask.sum()) for mask in small.masks.values()) == weights
        assert masks.kept == weights
