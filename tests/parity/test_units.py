"""Rankings of whole units and penalties on them: L1 norm of filters (arXiv 1608.08710, section 3), L2 norm, and group
lasso (structured sparsity learning, arXiv 1608.03665, eq. 2), element by element.
"""

import math
from functools import partial

import pytest
import torch
from torch import nn

from lth.modules._penalty import penalty, penalty_groups
from lth.pruning import Masks
from lth.pruning.structured import units
from lth.pruning.structured._rankers.l1 import l1
from lth.pruning.structured._rankers.l2 import l2
from lth.pruning.structured.group_lasso import group_lasso


def network(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 2)).double()


def filters_of(weight):
    return [weight[i].flatten().tolist() for i in range(weight.shape[0])]


def channels_of(weight):
    return [weight[:, j].flatten().tolist() for j in range(weight.shape[1])]


UNITS = {"filters": (units.filters, filters_of), "channels": (units.channels, channels_of)}


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("seed", range(3))
def test_norms_of_units_are_sums_over_their_elements(seed, unit):
    net, (index, parts) = network(seed), UNITS[unit]
    masks = Masks.ones(net)
    unit_index = {name: index(mask.shape) for name, mask in masks.items()}
    weights = dict(net.named_parameters())
    found = {"l1": l1(net, masks, unit_index), "l2": l2(net, masks, unit_index)}
    for name in masks:
        for number, part in enumerate(parts(weights[name].detach())):
            mean = math.fsum(abs(v) for v in part) / len(part)
            norm = math.sqrt(math.fsum(v * v for v in part)) / len(part)
            assert float(found["l1"][name][number]) == pytest.approx(mean, rel=1e-12)
            assert float(found["l2"][name][number]) == pytest.approx(norm, rel=1e-12)


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("seed", range(3))
def test_group_lasso_is_the_sum_of_the_norms_of_all_groups(seed, unit):
    net, (index, parts) = network(seed), UNITS[unit]
    weights = dict(net.named_parameters())
    found = penalty(weights, penalty_groups(net, [partial(group_lasso, unit=index, layers=["*"], strength=0.03)]))
    groups = [part for name in ("0.weight", "2.weight") for part in parts(weights[name].detach())]
    norms = [math.sqrt(math.fsum(v * v for v in group)) for group in groups]
    assert found.item() == pytest.approx(0.03 * math.fsum(norms), rel=1e-9)
    found.backward()
    for name in ("0.weight", "2.weight"):
        for values, slopes in zip(parts(weights[name].detach()), parts(weights[name].grad), strict=True):
            norm = math.sqrt(math.fsum(v * v for v in values))
            assert slopes == pytest.approx([0.03 * v / norm for v in values], rel=1e-9)
