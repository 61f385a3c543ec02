"""A step without a mask update takes the operations of a static mask; an average of gradients adds one."""

import pytest

from tests.report.test_cost import BY_TIER, MODELS, lightning_step

pytestmark = pytest.mark.slow

STATIC = ["method=erk", "sparsity.density=0.3"]
DYNAMIC = {
    "rigl": ["method=rigl", "sparsity.density=0.3", "method.every=6"],
    "set": ["method=set", "sparsity.density=0.3", "method.every=6"],
    "granet": ["method=granet", "sparsity.density=0.3", "method.every=6", "method.prune_end=100%"],
    "gmp": ["method=gmp", "sparsity.density=0.3", "method.every=6", "method.prune_end=100%"],
}


@pytest.mark.parametrize("model", BY_TIER)
@pytest.mark.parametrize("method", DYNAMIC)
def test_a_step_without_an_update_is_that_of_a_static_mask(method, model, tmp_path):
    static = lightning_step(tmp_path, *MODELS[model], *STATIC)
    moving = lightning_step(tmp_path, *MODELS[model], *DYNAMIC[method])
    assert not moving - static
    assert (static - moving).total() <= 2  # masks of ones, with which GMP begins, are not multiplied with


@pytest.mark.parametrize("model", BY_TIER)
def test_an_average_of_gradients_adds_one_operation_whatever_the_network(model, tmp_path):
    static = lightning_step(tmp_path, *MODELS[model], *STATIC)
    remembering = lightning_step(tmp_path, *MODELS[model], *DYNAMIC["rigl"], "method/memory=momentum")
    assert (remembering - static).total() == 1
    assert not static - remembering


def test_an_update_happens_at_the_step_it_is_due_and_is_what_costs(tmp_path):
    """`lightning_step` counts the operations of the third step, which has an update only with `every=3`."""
    quiet = lightning_step(tmp_path, *MODELS["mlp"], *DYNAMIC["rigl"])
    update = lightning_step(tmp_path, *MODELS["mlp"], "method=rigl", "sparsity.density=0.3", "method.every=3")
    assert update.total() > quiet.total() + 20
    assert not quiet["aten._local_scalar_dense.default"]
