"""Recipes have the settings of the run that gave their number: rates, counts, statistics of released programs."""

import math
from functools import partial
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
            placement=partial(pruning.placement, seed=seed),
            exact=pruning.exact,
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


SCALED = {  # edge-popup recipe -> the prune rate of its released configuration
    "resnet20_cifar10_edge_popup_0.014": 0.014,
    "resnet20_cifar10_global_edge_popup_0.0059": 0.2,
    "resnet20_cifar10_global_edge_popup_iterative_0.0059": 0.2,
    "resnet20_cifar10_global_edge_popup_iterative_l2_0.0059": 0.2,
    "vgg16_cifar10_edge_popup": 0.05,
    "mobilenet_v2_cifar10_edge_popup_0.5": 0.5,
    "conv4_cifar10_edge_popup_0.5": 0.5,
}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "rate"), SCALED.items())
def test_weights_of_edge_popup_have_the_released_scale(name: str, rate: float):
    cfg, net = recipes.configuration(f"rare_gems/{name}"), drawn(f"rare_gems/{name}")
    masks = Masks.ones(net)
    instantiate(cfg.method.weights)(net, masks, 0)
    for weight in masks.weights(net):
        released = math.sqrt(2 / weight[0].numel()) / math.sqrt(1 - rate)
        assert torch.allclose(weight.detach().abs(), torch.full((), released), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in SCALED if "global" in name])
def test_global_edge_popup_keeps_the_released_number_of_weights(name: str):
    rule = instantiate(recipes.configuration(f"rare_gems/{name}").method.rule)
    scores = [torch.rand(1000, generator=torch.Generator().manual_seed(0)) + 0.1]
    assert int(rule(scores, [], 0.0059)[0].sum()) == 5  # not 6


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["rare_gems/resnet18_tiny_imagenet_gem_miner_0.05", "rare_gems/resnet18_tiny_imagenet_smart_ratio"]
)
def test_tiny_imagenet_recipes_count_as_the_released_code_does_and_train_on_the_whole_folder(name: str):
    cfg, net = recipes.configuration(name), drawn(name)
    prunable = Masks.ones(net, cfg.prunable.include, cfg.prunable.exclude)
    assert Masks.ones(net).total - prunable.total == 172_032
    assert recipes.images(cfg) == 100_000


@pytest.mark.slow
@pytest.mark.parametrize("name", ["granet/resnet50_cifar10_granet", "itop/resnet50_cifar10_rigl_itop"])
def test_granets_resnets_are_drawn_as_torch_does_with_a_head_without_bias(name: str):
    net, cfg = drawn(name), recipes.configuration(name)
    found, error = std(net.conv1.weight)
    assert found == pytest.approx(1 / math.sqrt(3 * 27), rel=error)
    assert net.classifier.bias is None
    assert cfg.recipe.augment.crop_mode == "reflect"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["granet/vgg19_cifar10_granet", "er_lottery/vgg16_cifar10_granet_0.01"])
def test_granets_vgg_has_a_small_head_and_mirrored_crops(name: str):
    net, cfg = drawn(name), recipes.configuration(name)
    assert float(net.classifier.weight.detach().std()) == pytest.approx(0.01, rel=0.05)
    assert float(net.stage1[1].conv.weight.detach().std()) == pytest.approx(math.sqrt(2 / (64 * 9)), rel=0.05)
    assert cfg.recipe.augment.crop_mode == "reflect"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["granet/resnet50_imagenet_granet", "itop/resnet50_imagenet_rigl_itop"])
def test_granets_imagenet_weights_are_scaled_by_their_inputs(name: str):
    weight = drawn(name).layer1[0].conv1.weight.detach()  # 64 to 64 channels; the next has four times the outputs
    assert float(drawn(name).layer1[0].conv3.weight.detach().std()) == pytest.approx(math.sqrt(2 / 64), rel=0.05)
    assert float(weight.std()) == pytest.approx(math.sqrt(2 / 64), rel=0.05)


CLIPPED = [("resnet18_cifar10_str", 0.190), ("resnet50_cifar100_str", 0.224)]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "density"), CLIPPED)
def test_a_balanced_net_cut_at_density_1_is_as_sparse_as_the_recipe_says(name: str, density: float):
    options = ("support.masks.allocation.as_published=clip", "support.masks.exact=false")
    cfg, net = recipes.configuration(f"er_lottery/{name}", *options), drawn(f"er_lottery/{name}")
    masks = instantiate(cfg.support.masks)(net, Masks.ones(net), cfg.support.density)
    assert masks.density == pytest.approx(density, abs=5e-4)
    assert f"{density:.3f}" in recipes.block(f"er_lottery/{name}")["differs"]["random_net"]


@pytest.mark.slow
def test_distillers_example_for_tickets_has_a_recipe_for_each_command():
    first, last = (f"distiller/resnet20_cifar10_ticket_{what}" for what in ("dense", "retrain"))
    assert rates(first, "train", 0, 45, 46, 89, 90) == pytest.approx([0.4, 0.4, 0.04, 0.04, 0.004])
    assert rates(last, "train", 0, 45, 46, 90, 135) == pytest.approx([0.1, 0.1, 0.01, 0.001, 0.0001])
    assert [recipes.plan(recipes.configuration(name))[0].steps // 196 for name in (first, last)] == [110, 180]
    assert "resnet20_cifar10_ticket_dense" in (recipes.CONF / f"experiment/{last}.yaml").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in names("experiment") if name.endswith("_released")])
def test_released_sanity_checks_say_what_they_do_otherwise(name: str):
    said = " ".join(recipes.block(name)["differs"].values())
    assert all(words in said for words in ("best epoch on the test set", "under 10 % sparsity", "1 % of a layer"))
