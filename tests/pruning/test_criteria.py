"""Magnitude is |w|; random is the seed's, the layer's and the round's alone."""

from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from lth.callbacks import Prune
from lth.plan import Budget, Level
from lth.pruning import Masks, allocation, criteria, prune
from lth.pruning.criterion import ALLOCATION_TAKES, CRITERION_TAKES, check_takes
from lth.pruning.seeds import derive, generator


def network():
    return nn.Sequential(nn.Linear(30, 20), nn.Linear(20, 30), nn.Linear(30, 20))


def halved(masks):
    half = masks.clone()
    half["0.weight"][:10] = 0
    return half


def test_magnitude_is_the_absolute_weight():
    net = network()
    scores = criteria.magnitude(net, Masks.ones(net))
    assert list(scores) == ["0.weight", "1.weight", "2.weight"]
    assert all(torch.equal(score, net.get_parameter(name).abs()) for name, score in scores.items())
    assert not any(score.requires_grad for score in scores.values())


def test_magnitude_scores_the_masked_layers_only():
    net = network()
    assert list(criteria.magnitude(net, Masks.ones(net, exclude=["@head"]))) == ["0.weight", "1.weight"]


def test_random_scores_are_reproducible_and_follow_the_seed():
    net = network()
    masks = Masks.ones(net)
    one, again, other = (criteria.random(net, masks, seed=seed) for seed in (1, 1, 2))
    assert all(torch.equal(one[name], again[name]) for name in masks)
    assert not any(torch.equal(one[name], other[name]) for name in masks)


def test_random_scores_differ_between_layers_of_one_shape():
    net = network()
    scores = criteria.random(net, Masks.ones(net))
    assert scores["0.weight"].shape == scores["2.weight"].shape
    assert not torch.equal(scores["0.weight"], scores["2.weight"])


def test_random_scores_differ_between_rounds():
    """With equal scores, the second round would prune the weights that only just survived the first."""
    net = network()
    masks = Masks.ones(net)
    first, second = (criteria.random(net, m) for m in (masks, halved(masks)))
    assert not any(torch.equal(first[name], second[name]) for name in masks)


def test_random_pruning_of_a_level_is_independent_of_the_one_before():
    net = network()
    half = prune(net, Masks.ones(net), 0.5, criteria.random, allocation.global_)
    quarter = prune(net, half, 0.25, criteria.random, allocation.global_)
    early = {name: half[name].flatten()[: half[name].numel() // 2].sum() for name in half}
    kept = {name: quarter[name].flatten()[: half[name].numel() // 2].sum() for name in half}
    for name in half:
        assert float(kept[name] / early[name]) == pytest.approx(0.5, abs=0.12)


def test_random_scores_neither_read_nor_disturb_the_global_random_state():
    net = network()
    masks = Masks.ones(net)
    torch.manual_seed(0)
    first = criteria.random(net, masks)
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    second = criteria.random(net, masks)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(first[name], second[name]) for name in masks)


def test_random_scores_of_a_layer_do_not_depend_on_which_others_are_pruned():
    net = network()
    all_layers, two = Masks.ones(net), Masks.ones(net, exclude=["0"])
    two_kept_alike = Masks({name: mask for name, mask in all_layers.items() if name != "1.weight"})
    assert two.kept == two_kept_alike.kept  # the count is part of the key
    one, other = criteria.random(net, two), criteria.random(net, two_kept_alike)
    assert torch.equal(one["2.weight"], other["2.weight"])


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_random_scores_are_the_same_in_every_precision(dtype):
    net = network()
    plain = criteria.random(net, Masks.ones(net))
    net.to(dtype)
    assert all(torch.equal(score, plain[name]) for name, score in criteria.random(net, Masks.ones(net)).items())


def test_random_scores_are_uniform():
    net = network()
    scores = torch.cat([score.flatten() for score in criteria.random(net, Masks.ones(net)).values()])
    assert scores.min() >= 0
    assert scores.max() < 1
    assert scores.mean().item() == pytest.approx(0.5, abs=0.03)
    assert scores.var().item() == pytest.approx(1 / 12, abs=0.01)


def test_streams_have_the_seeds_they_always_had():
    """Another hash would silently change every published result."""
    assert derive("init", 0) == 1972644149930995479
    assert derive("order", 1, 2, 3) == 8243067704742444928


def test_streams_of_different_keys_differ():
    keys = [("order", a, b) for a in range(30) for b in range(30)] + [
        ("order", 123),
        ("order", 12, 3, 0),
        ("orde", "r", 3),
    ]
    assert len({derive(*key) for key in keys}) == len(keys)
    assert derive("trial", 2, 21) != derive("trial", 1, 42)
    assert all(0 <= derive(*key) < 2**63 for key in keys)


def test_a_generator_gives_its_streams_draws():
    assert torch.equal(torch.rand(5, generator=generator("a", 1)), torch.rand(5, generator=generator("a", 1)))
    assert not torch.equal(torch.rand(5, generator=generator("a", 1)), torch.rand(5, generator=generator("a", 2)))


def test_a_criterion_that_returns_no_scores_by_name_is_refused():
    net = network()
    with pytest.raises(ValueError, match=r"the criterion returned a list; it must return \{parameter name: scores\}"):
        prune(net, Masks.ones(net), 0.5, lambda net, masks, batches: list(masks.values()))


@pytest.mark.parametrize(
    ("function", "answer"),
    [
        (lambda net, masks: {}, r"criterion must be a function of .*, and <lambda>\(net, masks\) is not: too many"),
        (partial(criteria.snip, n_batchs=1), r"and snip\(.*\) is not: got an unexpected keyword argument 'n_batchs'"),
        ("magnitude", r"criterion='magnitude' must be a function of \(network, masks, batches\)"),
    ],
)
def test_pruning_refuses_a_criterion_that_it_cannot_call_when_it_is_built(function, answer):
    level = Level(0, "dense", 1.0, "train", Path(), 0, 0, Budget(1, 1))
    with pytest.raises(ValueError, match=answer):
        Prune(level, function, allocation.global_)
    with pytest.raises(ValueError, match=r"allocation must be a function of \(scores, density\), and <lambda>\(x\)"):
        Prune(level, criteria.magnitude, lambda x: {})


def test_every_criterion_and_every_allocation_is_a_function_of_the_right_kind():
    for name in ("grasp", "magnitude", "random", "snip", "synflow"):
        check_takes("criterion", getattr(criteria, name), CRITERION_TAKES)
    for name in ("erk", "global_", "uniform", "balanced"):
        check_takes("allocation", getattr(allocation, name), ALLOCATION_TAKES)
    check_takes("anything", print, ("a", "b"))  # not written in Python
