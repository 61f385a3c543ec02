"""The sparse product equals the dense one under the mask, and its gradients are those of the kept values."""

import pytest
import torch
from torch.autograd import gradcheck
from torch.nn.functional import linear

from lth.pruning.kept_places import KeptPlaces

MASK = torch.tensor([[1, 0, 1, 0], [0, 0, 0, 0], [1, 1, 0, 0]])  # an empty row and an empty column


def inputs(places, *shape, dtype=torch.double):
    """Images, kept values and a bias that want gradients."""
    random = torch.Generator().manual_seed(0)
    sizes = (*shape, places.shape[1]), (places.count,), (places.shape[0],)
    return [torch.randn(size, generator=random, dtype=dtype).requires_grad_() for size in sizes]


@pytest.mark.parametrize("shape", [(3,), (1,), (2, 3)])
def test_gradients_are_those_of_the_product(shape):
    places = KeptPlaces(MASK)
    x, values, bias = inputs(places, *shape)
    assert gradcheck(lambda x, v, b: places.linear(x, v, b), (x, values, bias))
    assert gradcheck(lambda x, v: places.linear(x, v), (x, values))


@pytest.mark.parametrize(("dtype", "error"), [(torch.double, 1e-12), (torch.float, 1e-5)])
def test_it_computes_what_the_masked_matrix_does(dtype, error):
    mask = torch.rand(30, 50, generator=torch.Generator().manual_seed(1)) < 0.2
    places = KeptPlaces(mask)
    given = inputs(places, 16, dtype=dtype)
    x, values, bias = (tensor.detach().clone().requires_grad_() for tensor in given)
    weight = places.dense_of(values).requires_grad_()
    assert torch.equal(weight != 0, mask)
    sparse, dense = places.linear(*given), linear(x, weight, bias)
    torch.testing.assert_close(sparse, dense, rtol=0, atol=error)
    sparse.square().sum().backward()
    dense.square().sum().backward()
    expected = x.grad, places.values_of(weight.grad), bias.grad
    for tensor, gradient in zip(given, expected, strict=True):
        torch.testing.assert_close(tensor.grad, gradient, rtol=error, atol=100 * error)


def test_large_products_in_parts_are_the_whole_product(monkeypatch):
    places = KeptPlaces(torch.arange(600).reshape(20, 30) % 7 == 0)
    x, values, bias = inputs(places, 70)
    whole = places.linear(x, values, bias)
    monkeypatch.setattr("lth.pruning.kept_places._CACHE", 0)
    assert torch.equal(places.linear(x, values, bias), whole)


def test_values_are_written_back_to_their_places():
    matrix = torch.arange(12.0).reshape(3, 4) + 1
    places = KeptPlaces(MASK)
    assert places.values_of(matrix).tolist() == [1, 3, 9, 10]
    assert torch.equal(places.dense_of(places.values_of(matrix)), matrix * MASK)


def test_a_layer_without_kept_weights_gives_its_bias():
    places = KeptPlaces(torch.zeros(3, 4))
    x, values, bias = inputs(places, 2)
    y = places.linear(x, values, bias)
    y.sum().backward()
    assert torch.equal(y, bias.expand(2, 3))
    assert not x.grad.any()
    assert values.grad.shape == (0,)
