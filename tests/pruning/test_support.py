"""Supports: random sparse nets in which criteria must stay."""

from functools import partial

import pytest
import torch

from lth.networks import lenet5
from lth.pruning import Masks, allocation, criteria, prune
from lth.pruning.allocation import count_kept
from lth.pruning.criterion import Batches
from lth.pruning.position import bernoulli
from lth.pruning.repair import dead_units, rewire
from lth.pruning.support import everything, sampled

CRITERIA = {
    "magnitude": criteria.magnitude,
    "random": criteria.random,
    "snip": partial(criteria.snip, n_batches=2, samples_per_class=None),
    "grasp": criteria.grasp,
    "synflow": criteria.synflow,
}


class Images(Batches):
    """Batches drawn once."""

    classes, image_shape = 4, (1, 16, 16)

    def __init__(self):
        random = torch.Generator().manual_seed(0)
        self.x, self.y = torch.randn(32, 1, 16, 16, generator=random), torch.arange(32) % 4

    def draw(self, n):
        return iter(zip(self.x.split(16)[:n], self.y.split(16)[:n], strict=True))

    def per_class(self, k):
        return self.x, self.y


def network(seed: int = 0):
    torch.manual_seed(seed)
    return lenet5(classes=4, channels=1, image_size=16)


def erk(net, density: float, **options) -> Masks:
    return sampled(net, Masks.ones(net), density, allocation=allocation.erk, **options)


@pytest.mark.slow
@pytest.mark.parametrize("rounds", [1, 5])
@pytest.mark.parametrize("name", CRITERIA)
def test_a_criterion_stays_in_its_support_and_keeps_exactly_what_is_asked(name, rounds):
    net = network()
    support = erk(net, 0.3)
    for density in (0.29, 0.1, 0.01):
        masks = prune(net, support, density, CRITERIA[name], allocation.global_, Images(), rounds=rounds)
        assert masks.kept == count_kept(density, masks.total)
        assert all((masks[layer] <= mask).all() for layer, mask in support.items())


@pytest.mark.parametrize("name", CRITERIA)
def test_more_than_the_support_holds_is_an_error(name):
    net = network()
    support = erk(net, 0.3)
    with pytest.raises(ValueError, match=f"masks keep only {support.kept}"):
        prune(net, support, 0.31, CRITERIA[name], allocation.global_, Images())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["snip", "grasp", "synflow"])
def test_scores_are_those_of_the_sparse_network_not_of_the_dense_one(name):
    """Weights outside of the support carry neither gradient nor flow."""
    net = network()
    support = erk(net, 0.3)
    inside = CRITERIA[name](net, support, Images())
    sparse = network()
    support.apply_(sparse)
    alone = CRITERIA[name](sparse, support, Images())
    dense = CRITERIA[name](network(), Masks.ones(net), Images())
    for layer, mask in support.items():
        kept = mask.bool()
        assert torch.allclose(inside[layer][kept], alone[layer][kept], rtol=1e-4, atol=0)
    assert any(not torch.allclose(inside[n], dense[n], rtol=1e-2) for n in support)


def test_a_support_has_the_counts_of_its_allocation_and_follows_its_seed():
    net = network()
    support = erk(net, 0.3, seed=1)
    shapes = {name: torch.zeros_like(mask) for name, mask in support.items()}
    assert support.kept_by_layer() == allocation.erk(shapes, 0.3)
    assert support.digest() == erk(network(1), 0.3, seed=1).digest(), "whatever the weights are"
    assert support.digest() != erk(net, 0.3, seed=2).digest()


def test_a_random_mask_of_the_same_seed_is_independent_of_its_support():
    """If both had the same scores, the random control would keep exactly the weights of the support."""
    net = network()
    support = erk(net, 0.5, seed=0)
    other = prune(net, Masks.ones(net), 0.5, criteria.random, allocation.erk)
    expected = sum(kept**2 / support[name].numel() for name, kept in support.kept_by_layer().items())
    both = sum(int((support[name] * other[name]).sum()) for name in support)
    assert both == pytest.approx(expected, rel=0.03)


def test_layers_named_dense_are_held_whole_and_count_against_the_density():
    net = network()
    dense = ["@first", "head.classifier"]
    support = sampled(net, Masks.ones(net), 0.3, allocation=allocation.uniform, dense=dense)
    assert support.kept == count_kept(0.3, support.total)
    first, *_, head = support.values()
    assert first.all()
    assert head.all()


def test_a_support_may_be_a_graph_proper_and_repaired():
    net = network()
    support = erk(net, 0.05, placement=bernoulli, seed=3)
    assert support.kept != count_kept(0.05, support.total)
    assert any(any(dead) for dead in dead_units(net, support).values())
    repaired = erk(net, 0.05, placement=bernoulli, repair=rewire, seed=3)
    assert repaired.kept_by_layer() == support.kept_by_layer()
    assert not any(outputs for outputs, _ in dead_units(net, repaired).values())


def test_no_support_restricts_nothing_and_has_no_density():
    net = network()
    masks = Masks.ones(net)
    assert everything(net, masks) is masks
    with pytest.raises(ValueError, match=r"support.density=0.3 needs a support"):
        everything(net, masks, 0.3)
