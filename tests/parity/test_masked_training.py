"""Training under a fixed mask is the training of f(x; m * w) (arXiv 1803.03635, section 1; arXiv 1810.02340, eq. 1).

SGD with momentum, weight decay and Nesterov's step are written out: g <- dL/dw + decay w, v <- momentum v + g, and
w <- w - lr v, or w <- w - lr (g + momentum v).
"""

import math

import pytest
import torch

from tests.parity.plain import equal
from tests.parity.training import DECAY, LR, STEPS, assert_same_end, trained

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("density", [0.3, 0.05])
def test_thirty_steps_under_a_random_mask_equal_the_mask_in_the_forward_pass(density, nesterov, tmp_path):
    options = ["method=erk", f"sparsity.density={density}", f"recipe.optimizer.nesterov={str(nesterov).lower()}"]
    built, start, net = trained(tmp_path, *options)
    masks = dict(net.masks)
    for x, labels in start.batches:
        net.step(net.masked(net.gradients(x, labels)), LR, 0.9, DECAY, nesterov)
    assert equal(net.masks, masks)
    assert_same_end(built, net)


def test_pruned_weights_that_decay_in_a_dense_copy_do_not_change_the_network(tmp_path):
    """The textbook's other form: stored weights stay dense, only the product with the mask is used."""
    built, start, net = trained(tmp_path, "method=erk", "sparsity.density=0.3", "model.bias=false")
    for name, mask in net.masks.items():
        net.values[name] = net.values[name] + (1 - mask)  # any value at pruned weights
    for x, labels in start.batches:
        net.step(net.masked(net.gradients(x, labels)), LR, 0.9, DECAY, False)
    assert_same_end(built, net)


def test_weight_decay_and_momentum_in_float32_are_the_same_to_the_last_bit(tmp_path):
    built, start, net = trained(tmp_path, "method=erk", "sparsity.density=0.3", "recipe.precision=32-true")
    for x, labels in start.batches:
        net.step(net.masked(net.gradients(x, labels)), LR, 0.9, DECAY, False)
    assert_same_end(built, net)


def test_clipping_measures_the_norm_of_the_kept_weights_gradient(tmp_path):
    built, start, net = trained(tmp_path, "method=erk", "sparsity.density=0.3", "recipe.clip=0.1")
    clipped = 0
    for x, labels in start.batches:
        gradients = net.masked(net.gradients(x, labels))
        norm = math.sqrt(math.fsum(v * v for g in gradients.values() for v in g.flatten().tolist()))
        clipped += norm > 0.1
        scale = min(1.0, 0.1 / (norm + 1e-6))  # torch's clip_grad_norm_ adds 1e-6
        net.step({name: scale * g for name, g in gradients.items()}, LR, 0.9, DECAY, False)
    assert clipped > STEPS / 2
    found = {name: p.detach() for name, p in built.net.named_parameters()}
    assert all(torch.allclose(found[name], value, rtol=0, atol=1e-13) for name, value in net.used().items())
