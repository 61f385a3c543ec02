"""Recipes have the settings of the run that gave their number: rates, counts, statistics of released programs."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.utils import instantiate

from docs import recipes
from lth.experiment.build import recipe_of
from lth.plan import Budget, Level
from lth.pruning import Masks, criteria, prune
from tests.support.harness import names


def drawn(name: str, seed: int = 0) -> Any:
    """The network of a recipe with its initial weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return instantiate(recipes.configuration(name).model)


def std(weight: torch.Tensor) -> tuple[float, float]:
    """Standard deviation of uniform draws, and four times the standard error of it, relative."""
    return float(weight.detach().std()), 4 * math.sqrt(
        0.8 / (4 * weight.numel())
    )  # the fourth moment of a uniform variable


def first_pruning(name: str, density: float) -> Any:
    """The callback that prunes a recipe's network to a density."""
    level = Level(0, "first", density, "train", Path("unused"), 0, 1, Budget(1, 1))
    return instantiate(recipes.configuration(name).method.stages.train.callbacks.prune)(level=level)


def rates(name: str, stage: str, *epochs: int) -> list[float]:
    """The learning rate of a recipe's stage at the start of the given epochs of its first level."""
    cfg, images = recipes.configuration(name), 100
    recipe = recipe_of(cfg, stage)
    clock = recipe.clocks(recipe.budget(images))
    return [recipe.lr * clock(epoch * images) for epoch in epochs]


@pytest.mark.slow
@pytest.mark.parametrize("network", ["resnet18_cifar10", "mlp_acs_employment"])
def test_edge_popup_in_random_nets_drops_its_rate_every_30_epochs(network: str):
    name = f"er_lottery/{network}_er_edge_popup"
    found = rates(name, "search", 0, 29, 30, 59, 60, 89, 90, 99)
    assert found == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001, 0.0001, 0.0001])
    assert {level.stage for level in recipes.plan(recipes.configuration(name))} == {"search"}


TURBOPRUNE = [name for name in names("experiment") if name.startswith("turboprune/resnet18_cifar10")]


@pytest.mark.slow
@pytest.mark.parametrize("name", TURBOPRUNE)
def test_turboprunes_networks_are_drawn_as_torch_does_by_default(name: str):
    net = drawn(name)
    for weight, measured in ((net.conv1.weight, 0.1108), (net.classifier.weight, 0.0254)):
        found, error = std(weight)
        assert found == pytest.approx(measured, rel=2 * error)  # `measured` is of one draw too
    assert float(net.layer4[1].conv2.weight.std()) == pytest.approx(0.0085, rel=0.01)
    assert float(net.classifier.bias.abs().max()) > 0


@pytest.mark.slow
@pytest.mark.parametrize(("method", "published"), [("erk", 525_706), ("balanced", 531_592)])
def test_turboprunes_random_masks_keep_the_published_number_of_weights_in_expectation(method: str, published: int):
    name = f"turboprune/resnet18_cifar10_{method}"
    net, pruning = drawn(name), first_pruning(name, 0.05)
    counts = pruning.allocation(Masks.ones(net), 0.05)
    assert sum(counts.values()) == pytest.approx(published, abs=1)
    sizes = {layer: mask.numel() for layer, mask in Masks.ones(net).items()}
    spread = math.sqrt(sum(count * (1 - count / sizes[layer]) for layer, count in counts.items()))
    kept = [
        prune(
            net,
            Masks.ones(net),
            0.05,
            criteria.random,
            pruning.allocation,
            placement=pruning.placement,
            exact=pruning.exact,
            seed=seed,
        ).kept
        for seed in range(3)
    ]
    assert all(abs(count - published) < 4 * spread for count in kept)
    assert len(set(kept)) == 3  # each weight is drawn, so that the number is random


@pytest.mark.slow
@pytest.mark.parametrize(("method", "kept"), [("random_erk", 6_355_241), ("random_balanced", 7_075_245)])
def test_turboprunes_random_ladders_keep_the_published_number_at_their_first_pruning(method: str, kept: int):
    name = f"turboprune/resnet18_cifar10_{method}"
    net, pruning = drawn(name), first_pruning(name, 0.8)
    assert sum(pruning.allocation(Masks.ones(net), 0.8).values()) == pytest.approx(kept, abs=1)
    assert recipes.plan(recipes.configuration(name))[1].density == pytest.approx(0.8)
    assert pruning.exact is False


@pytest.mark.slow
def test_turboprunes_balanced_resnet50_has_the_published_density():
    counts = first_pruning("turboprune/resnet50_imagenet_balanced", 0.1).allocation(
        Masks.ones(drawn("turboprune/resnet50_imagenet_balanced")), 0.1
    )
    assert sum(counts.values()) / 25_502_912 == pytest.approx(0.0996, abs=4 * 6e-5)  # each weight is drawn


@pytest.mark.slow
@pytest.mark.parametrize(("density", "empty"), [(0.1, 4), (0.05, 5), (0.01, 10)])
def test_turboprunes_synflow_empties_as_many_layers_as_measured(density: float, empty: int):
    name = "turboprune/resnet18_cifar10_synflow"
    net, pruning = drawn(name), first_pruning(name, density)
    data = [(torch.zeros(2, 3, 32, 32), torch.zeros(2, dtype=torch.long))]
    masks = prune(net, Masks.ones(net), density, pruning.criterion, pruning.allocation, data, rounds=pruning.rounds)
    left = masks.kept_by_layer()
    assert [count for count in left.values() if not count] == [0] * empty
    assert pruning.rounds == 1


@pytest.mark.slow
def test_turboprunes_settings_that_decide_how_long_it_trains():
    cfg = {
        name: recipes.configuration(f"turboprune/{name}") for name in ("resnet18_cifar10_wr", "resnet50_imagenet_wr")
    }
    assert {one.method.rewind for one in cfg.values()} == {"11ep"}
    assert {one.dataset.drop_last for one in cfg.values()} == {True}
    late = rates("turboprune/resnet18_cifar10_lrr_2024", "train", 0, 1, 2, 10, 70, 71, 130, 131)
    assert late == pytest.approx([0.1, 0.01, 0.02, 0.1, 0.1, 0.01, 0.01, 0.001])
