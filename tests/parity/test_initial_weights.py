"""Initial weights and scores of searches and of random tickets.

Signed constants and scaled fans: arXiv 1911.13299, section 3.3. Scores in [0, 1]: arXiv 2202.12002; Kaiming-uniform
scores with a = sqrt(5): the released code of 1911.13299. Normal weights for a layer's density: arXiv 2210.02412; for
the density of the network: arXiv 2202.02643.
"""

import math

import pytest
import torch
from torch import nn

from lth.networks._init import initialise_
from lth.pruning import Masks
from lth.pruning.initial_weights import distributions
from lth.pruning.search import score_init

FAN_IN = 3 * 3 * 3


def convolution(outputs=400) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, outputs, 3, bias=False))


def test_signed_constants_are_plus_or_minus_the_standard_deviation_of_kaiming():
    weight = initialise_(convolution(), "signed_constant", "fan_in")[0].weight.detach()
    assert weight.abs().unique().tolist() == pytest.approx([math.sqrt(2 / FAN_IN)])
    assert math.sqrt(2 / FAN_IN) == pytest.approx(0.272166, abs=1e-6)  # ResNet-20's first layer
    assert abs(float((weight > 0).double().mean()) - 0.5) < 5 * 0.5 / math.sqrt(weight.numel())


def test_a_scaled_fan_has_the_variance_of_the_weights_that_will_be_kept():
    net = initialise_(convolution(), "signed_constant", "fan_in")
    distributions.scale_fan(net, Masks.ones(net), density=0.014)
    assert net[0].weight.abs().unique().tolist() == pytest.approx([math.sqrt(2 / (FAN_IN * 0.014))])


def test_the_released_scaled_fan_takes_the_density_for_the_fraction_removed():
    net = initialise_(convolution(), "signed_constant", "fan_in")
    distributions.scale_fan(net, Masks.ones(net), density=0.014, as_published=True)
    (released,) = net[0].weight.abs().unique().tolist()
    assert released == pytest.approx(math.sqrt(2 / (FAN_IN * 0.986)))
    assert math.sqrt(2 / (FAN_IN * 0.014)) / released == pytest.approx(8.4, abs=0.05)  # measured beside the program


@pytest.mark.parametrize("rule", [distributions.normal, distributions.uniform], ids=["normal", "uniform"])
def test_variances_are_two_over_the_fan_in_of_kept_weights(rule):
    net = convolution()
    masks = Masks.ones(net)
    masks["0.weight"].copy_(torch.rand(masks["0.weight"].shape) < 0.25)
    rule(net, masks, 0)
    kept = net[0].weight.detach()[masks["0.weight"].bool()]
    expected = math.sqrt(2 / (FAN_IN * masks.density))
    assert float(kept.std()) == pytest.approx(expected, rel=0.05)
    assert abs(float(kept.mean())) < 4 * expected / math.sqrt(len(kept))
    assert not net[0].weight[masks["0.weight"] == 0].any()


def test_the_scaled_rule_is_the_default_of_torch_over_the_root_of_the_networks_density():
    net = convolution()
    masks = Masks.ones(net)
    masks["0.weight"].copy_(torch.rand(masks["0.weight"].shape) < 0.25)
    distributions.scaled(net, masks, 0)
    gain = math.sqrt(2 / (1 + math.sqrt(5) ** 2))
    kept = net[0].weight.detach()[masks["0.weight"].bool()]
    assert float(kept.std()) == pytest.approx(gain / math.sqrt(FAN_IN * masks.density), rel=0.05)


def test_scores_of_edge_popup_have_the_range_of_torchs_default_weights():
    weight, random = torch.empty(400, 3, 3, 3), torch.Generator().manual_seed(0)
    scores = score_init.kaiming_uniform(weight, random)
    bound = math.sqrt(2 / (1 + 5)) * math.sqrt(3 / FAN_IN)
    assert bound == pytest.approx(1 / math.sqrt(FAN_IN))
    assert 0.99 * bound < float(scores.abs().max()) <= bound
    assert float(scores.std()) == pytest.approx(bound / math.sqrt(3), rel=0.05)


def test_scores_of_convolutions_are_one_half_in_the_code_for_random_nets_and_those_of_the_classifier_are_drawn():
    convolution, classifier, random = torch.empty(8, 3, 3, 3), torch.empty(10, 512), torch.Generator().manual_seed(0)
    assert torch.equal(score_init.kaiming_uniform(convolution, random, convolutions=0.5), torch.full((8, 3, 3, 3), 0.5))
    drawn = score_init.kaiming_uniform(classifier, random, convolutions=0.5)
    assert float(drawn.abs().max()) == pytest.approx(1 / math.sqrt(512), rel=0.01)
    assert float(drawn.std()) == pytest.approx(1 / math.sqrt(3 * 512), rel=0.05)


def test_scores_of_gem_miner_are_uniform_between_zero_and_one():
    scores = score_init.uniform(torch.empty(400, 27), torch.Generator().manual_seed(0)).flatten().sort().values
    steps = torch.arange(1, len(scores) + 1) / len(scores)
    assert float((scores - steps).abs().max()) < 1.95 / math.sqrt(len(scores))  # Kolmogorov-Smirnov at 0.001
