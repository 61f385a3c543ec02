"""Initial weights, biases and scores of a search: the published distributions."""

import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from lth.networks import lenet_300_100, resnet20
from lth.pruning import Masks
from lth.pruning.initial_weights.distributions import scale_fan
from lth.pruning.initial_weights.with_biases import draw_with_biases
from lth.pruning.search import score_init
from lth.pruning.seeds import generator

SIZES = (100, 400, 400, 50)
STDS = [math.sqrt(2 / fan_in) for fan_in in SIZES[:-1]]


def drawn(**options) -> list[nn.Linear]:
    layers = [nn.Linear(a, b) for a, b in pairwise(SIZES)]
    net = nn.Sequential(*layers)
    draw_with_biases(net, Masks.ones(net), **options)
    return layers


def test_signed_constants_of_resnet20_are_plus_and_minus_one_value():
    net = resnet20(classes=10, channels=3, image_size=32, init="signed_constant", fan="fan_in")
    weight = Masks.ones(net).weights(net)[0]
    assert weight.shape == (16, 3, 3, 3)
    assert sorted(set(weight.flatten().tolist())) == pytest.approx([-0.272166, 0.272166], abs=1e-6)
    for name, weight in zip(Masks.ones(net), Masks.ones(net).weights(net), strict=True):
        values = weight.detach().abs().unique()
        assert values.tolist() == pytest.approx([math.sqrt(2 / weight[0].numel())], abs=1e-7), name


@pytest.mark.parametrize("density", [None, 0.25])
def test_kaiming_normal_counts_the_fan_in_that_a_density_leaves(density):
    for layer, std in zip(drawn(density=density), STDS, strict=True):
        assert layer.weight.std().item() == pytest.approx(std * (2 if density else 1), rel=0.03)
        assert layer.weight.mean().item() == pytest.approx(0, abs=0.02)
        assert not layer.bias.any()


def test_signed_constants_have_one_size_in_weights_and_biases():
    for layer, std in zip(drawn(weights="signed_constant", biases="constant"), STDS, strict=True):
        for values in (layer.weight, layer.bias):
            assert values.detach().abs().unique().tolist() == pytest.approx([std], rel=1e-6)
            assert 0.3 < (values > 0).float().mean() < 0.7


@pytest.mark.parametrize("weights", ["normal", "looks_linear"])
def test_normal_biases_shrink_with_the_product_of_deviations(weights: str):
    for index, layer in enumerate(drawn(weights=weights, biases="normal")):
        assert layer.bias.std().item() == pytest.approx(0.05 * math.prod(STDS[: index + 1]), rel=0.3)


def test_uniform_biases_fill_their_interval():
    for index, layer in enumerate(drawn(biases="uniform")):
        bound = 0.05 * math.prod(STDS[: index + 1])
        assert 0.8 * bound < layer.bias.abs().max().item() <= bound
    for layer, fan_in in zip(drawn(biases="unscaled"), SIZES[:-1], strict=True):
        assert 0.8 / fan_in**0.5 < layer.bias.abs().max().item() <= 1 / fan_in**0.5


def test_looks_linear_weights_are_mirrored_and_orthogonal():
    first, middle, last = (layer.weight.detach() for layer in drawn(weights="looks_linear"))
    assert torch.equal(first[:200], -first[200:])
    assert torch.equal(middle[:200, :200], middle[200:, 200:])
    assert torch.equal(middle[:200, :200], -middle[200:, :200])
    assert torch.equal(last[:, :200], -last[:, 200:])
    half = middle[:200, :200]
    assert torch.allclose(half @ half.T, torch.eye(200), atol=1e-4)


def test_carried_biases_are_what_the_layer_before_hands_on():
    first, second, _ = drawn(weights="looks_linear", biases="carried")
    assert first.bias.any()
    assert torch.allclose(second.bias, second.weight @ first.bias, atol=1e-6)


def test_a_bias_cannot_be_carried_over_a_change_of_shape():
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(64, 2))
    with pytest.raises(ValueError, match="not the outputs"):
        draw_with_biases(net, Masks.ones(net), biases="carried")


def test_the_same_seed_draws_the_same_and_another_draws_others():
    one, same, other = (drawn(biases="uniform", seed=seed)[1] for seed in (0, 0, 1))
    assert torch.equal(one.weight, same.weight)
    assert torch.equal(one.bias, same.bias)
    assert not torch.equal(one.weight, other.weight)
    assert not torch.equal(one.bias, other.bias)


@pytest.mark.parametrize("wrong", [{"weights": "gauss"}, {"biases": "ones"}, {"density": 30}])
def test_unknown_kinds_and_percents_are_refused(wrong: dict):
    with pytest.raises(ValueError, match=r"is not one of|density"):
        drawn(**wrong)


def test_a_scaled_fan_divides_by_the_root_of_what_is_kept():
    net = lenet_300_100(classes=10, channels=1, image_size=8, init="signed_constant")
    scale_fan(net, Masks.ones(net), density=0.25)
    weight = Masks.ones(net).weights(net)[0]
    assert weight.detach().abs().unique().tolist() == pytest.approx([2 * math.sqrt(2 / 64)])


def test_score_inits_have_their_published_distributions():
    weight, random = torch.randn(300, 100, generator=generator("w")), generator("scores")
    uniform = score_init.uniform(weight, random)
    assert (uniform.mean().item(), uniform.min().item() >= 0) == (pytest.approx(0.5, abs=0.01), True)
    assert uniform.var().item() == pytest.approx(1 / 12, abs=0.002)
    edge = score_init.kaiming_uniform(weight, random)
    assert 0.99 / 10 < edge.abs().max().item() <= 1 / 10  # gain^2 = 1/3: within 1 / sqrt(fan_in)
    assert set(score_init.bernoulli(weight, random).flatten().tolist()) == {0.0, 1.0}
    bimodal, skew = score_init.beta(weight, random, a=0.1, b=0.1), score_init.beta(weight, random, a=1.0, b=5.0)
    assert bimodal.mean().item() == pytest.approx(0.5, abs=0.01)
    assert ((bimodal < 0.1) | (bimodal > 0.9)).float().mean().item() > 0.75
    assert skew.mean().item() == pytest.approx(1 / 6, abs=0.01)
    assert score_init.constant(weight, random, value=0.5).unique().tolist() == [0.5]


def test_warm_scores_start_at_one_for_the_larger_half_of_the_weights():
    weight = torch.randn(40, 50, generator=generator("w"))
    scores = score_init.by_magnitude(weight, generator("s"))
    assert scores.mean() == 0.5
    assert weight.abs()[scores == 1].min() > weight.abs()[scores == 0].max()


def test_warm_scores_are_those_of_any_share():
    weight = torch.randn(7, 11, generator=generator("w"))
    for share in (0.0, 0.1, 0.37, 1.0):
        expected = (weight.abs() > weight.abs().flatten().quantile(1 - share)).float()
        assert torch.equal(score_init.by_magnitude(weight, generator("s"), share=share), expected)


def test_drawing_scores_leaves_the_global_stream_alone():
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    score_init.beta(torch.ones(5, 5), generator("s"), a=0.1, b=0.1)
    assert torch.equal(torch.rand(4), expected)
