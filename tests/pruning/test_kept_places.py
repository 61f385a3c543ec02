"""The sparse product equals the dense one under the mask, and its gradients are those of the kept values."""

import pytest
import torch
from torch.autograd import gradcheck
from torch.nn.functional import conv2d, linear

from lth.pruning.kept_places import KeptPlaces


@pytest.fixture(params=["numba", "torch"])
def products(request, monkeypatch):
    """Which library multiplies."""
    if request.param == "numba":
        pytest.importorskip("numba", reason="numba is not installed: pip install 'lth[sparse]'")
    threads = 1 if request.param == "numba" else 2
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    return request.param


MASK = torch.tensor([[1, 0, 1, 0], [0, 0, 0, 0], [1, 1, 0, 0]])  # an empty row and an empty column


def inputs(places, *shape, dtype=torch.double):
    """Images, kept values and a bias that want gradients."""
    random = torch.Generator().manual_seed(0)
    sizes = (*shape, places.shape[1]), (places.count,), (places.shape[0],)
    return [torch.randn(size, generator=random, dtype=dtype).requires_grad_() for size in sizes]


@pytest.mark.parametrize("shape", [(3,), (1,), (2, 3)])
@pytest.mark.usefixtures("products")
def test_gradients_are_those_of_the_product(shape):
    places = KeptPlaces(MASK)
    x, values, bias = inputs(places, *shape)
    assert gradcheck(lambda x, v, b: places.linear(x, v, b), (x, values, bias))
    assert gradcheck(lambda x, v: places.linear(x, v), (x, values))


@pytest.mark.parametrize(("dtype", "error"), [(torch.double, 1e-12), (torch.float, 1e-5)])
def test_it_computes_what_the_masked_matrix_does(dtype, error, products):
    mask = torch.rand(30, 50, generator=torch.Generator().manual_seed(1)) < 0.2
    places = KeptPlaces(mask)
    assert (places.linear(*inputs(places, 2, dtype=dtype)).grad_fn.name() == "CompiledLinearBackward") == (
        products == "numba"
    )
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
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
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


@pytest.mark.usefixtures("products")
def test_numbers_that_are_not_finite_stay_so():
    places = KeptPlaces(torch.ones(1, 6))
    x, values, bias = inputs(places, 3, dtype=torch.float)
    with torch.no_grad():
        x[0, 0], x[1, 5], x[2, 4] = torch.inf, torch.nan, -torch.inf
        values.abs_()
    result = places.linear(x, values, bias)
    assert str(result.flatten().tolist()) == "[inf, nan, -inf]"
    result[:2].sum().backward()
    assert values.grad.isfinite().tolist() == [False, True, True, True, False, False]  # 0 * inf too


@pytest.mark.usefixtures("products")
def test_only_what_wants_a_gradient_gets_one():
    places = KeptPlaces(MASK)
    for wanted in range(3):
        given = [tensor.detach() for tensor in inputs(places, 5)]
        given[wanted].requires_grad_()
        places.linear(*given).sum().backward()
        assert [tensor.grad is not None for tensor in given] == [place == wanted for place in range(3)]


@pytest.mark.usefixtures("products")
def test_other_types_are_refused():
    places = KeptPlaces(MASK)
    x, values, bias = inputs(places, 3, dtype=torch.float)
    with pytest.raises((TypeError, RuntimeError), match=r"dtype|scalar type|same type|Double"):
        places.linear(x.double(), values, bias)


@pytest.mark.usefixtures("products")
def test_values_changed_after_the_forward_pass_are_noticed():
    places = KeptPlaces(MASK)
    x, values, bias = inputs(places, 3)
    result = places.linear(x, values, bias)
    values.data.add_(0)  # optimizers change data: allowed
    with torch.no_grad():
        values.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        result.sum().backward()


@pytest.mark.usefixtures("products")
@pytest.mark.parametrize("size", [(3, 2), (1, 1)])
def test_a_1x1_convolution_equals_the_dense_one_and_its_gradients_are_right(size):
    places = KeptPlaces(MASK[:, :, None, None])
    _, values, bias = inputs(places, 1)
    x = torch.randn(2, 4, *size, dtype=torch.double, generator=torch.Generator().manual_seed(1)).requires_grad_()
    dense = conv2d(x, places.dense_of(values), bias)
    assert places.dense_of(values).shape == (3, 4, 1, 1)
    torch.testing.assert_close(places.convolve(x, values, bias), dense, rtol=0, atol=1e-12)
    torch.testing.assert_close(places.convolve(x.to(memory_format=torch.channels_last), values, bias), dense)
    assert gradcheck(lambda x, v, b: places.convolve(x, v, b), (x, values, bias))
    assert gradcheck(lambda x, v: places.convolve(x, v), (x, values))


@pytest.mark.parametrize("samples", [1, 3, 128, 600])
@pytest.mark.parametrize("units", [1, 10, 100, 128, 784])
@pytest.mark.parametrize("dtype", [torch.float, torch.double])
def test_the_compiled_transpose_equals_that_of_torch(samples, units, dtype):
    pytest.importorskip("numba", reason="numba is not installed: pip install 'lth[sparse]'")
    from lth.pruning._compiled_linear import _transposed

    x = torch.randn(samples, units, dtype=dtype)
    for given in (x, x.t().contiguous().t(), x.view(samples, 1, units), torch.randn(samples, 2 * units)[:, ::2]):
        result = _transposed(given, units)
        assert result.is_contiguous()
        assert torch.equal(result, given.reshape(-1, units).t())
