"""Recipes have the settings of the run that gave their number: rates, counts, statistics of released programs."""

import pytest

from docs import recipes
from lth.experiment.build import recipe_of


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
