"""Linear layers with a matrix in compressed sparse rows (CSR), compiled by numba for one thread.

Rows of the dense matrices are samples of one unit, so that the innermost loops run over memory in order. Four kept
values are taken at a time, because a row of the result or of the gradient is then read once for four products.
"""

from collections.abc import Callable
from ctypes import CFUNCTYPE, c_double, c_float, c_int64, c_void_p
from functools import cache
from typing import Any, NamedTuple

import numba
import torch
from numba import carray, types
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

Array = NDArray[Any]
_LARGEST_BATCH = 512  # torch transposes batches of more samples
_COMPILED: list[Any] = []  # keeps compiled functions alive: their machine code is freed with them
# sums may use vector instructions and fused multiply-adds; NaN and infinity are not assumed away
_OPTIONS: dict[str, Any] = {"fastmath": {"reassoc", "contract"}, "error_model": "numpy"}


def _compile(function: Any, how: Any = numba.njit, *signature: Any) -> Any:
    """Compile a function. Its machine code is cached on disk where numba finds a writable folder."""
    try:
        return how(*signature, **_OPTIONS, cache=True)(function)
    except RuntimeError:
        return how(*signature, **_OPTIONS)(function)


@_compile
def _product(starts: Array, columns: Array, order: Array, values: Array, x: Array, result: Array) -> None:
    """result += matrix @ x.

    starts: where each row of the matrix begins in `columns` and `order`, and where the last one ends
    columns: column of each kept place
    order: index of its value in `values`
    x: shape (inputs, samples)
    result: shape (outputs, samples)
    """
    samples = x.shape[1]
    for row in range(len(starts) - 1):
        out = result[row]
        k, end = starts[row], starts[row + 1]
        while k + 4 <= end:
            v0, v1, v2, v3 = values[order[k]], values[order[k + 1]], values[order[k + 2]], values[order[k + 3]]
            x0, x1, x2, x3 = x[columns[k]], x[columns[k + 1]], x[columns[k + 2]], x[columns[k + 3]]
            for s in range(samples):
                out[s] += v0 * x0[s] + v1 * x1[s] + v2 * x2[s] + v3 * x3[s]
            k += 4
        while k < end:
            v0, x0 = values[order[k]], x[columns[k]]
            for s in range(samples):
                out[s] += v0 * x0[s]
            k += 1


@_compile
def _forward(starts: Array, columns: Array, order: Array, values: Array, x: Array, bias: Array, result: Array) -> None:
    """result = matrix @ x + bias for each image; arguments as for `_product`.

    x, result: with a first dimension of images
    bias: shape (outputs,)
    """
    for image in range(len(x)):
        for row in range(len(bias)):
            result[image, row] = bias[row]
        _product(starts, columns, order, values, x[image], result[image])


@_compile
def _backward(
    starts: Array, columns: Array, gradient: Array, x: Array, zero: Any, of_values: Array, of_bias: Array
) -> None:
    """Add (gradient @ x.T) at the kept places to of_values, and the sum of `gradient` over samples to of_bias.

    starts, columns, x: as for `_product`
    gradient: of the result, shape (outputs, samples)
    zero: a zero of the type of all values
    """
    samples = x.shape[1]
    for row in range(len(starts) - 1):
        g = gradient[row]
        total = zero
        for s in range(samples):
            total += g[s]
        of_bias[row] += total
        k, end = starts[row], starts[row + 1]
        while k + 4 <= end:
            x0, x1, x2, x3 = x[columns[k]], x[columns[k + 1]], x[columns[k + 2]], x[columns[k + 3]]
            a0, a1, a2, a3 = zero, zero, zero, zero
            for s in range(samples):
                a0 += g[s] * x0[s]
                a1 += g[s] * x1[s]
                a2 += g[s] * x2[s]
                a3 += g[s] * x3[s]
            of_values[k] += a0
            of_values[k + 1] += a1
            of_values[k + 2] += a2
            of_values[k + 3] += a3
            k += 4
        while k < end:
            x0, a0 = x[columns[k]], zero
            for s in range(samples):
                a0 += g[s] * x0[s]
            of_values[k] += a0
            k += 1


def _transpose_at(x, result, rows, columns):
    """Write x.T to `result`. Both arrays are given by their addresses.

    rows, columns: of x
    """
    given, out = carray(x, (rows, columns)), carray(result, (columns, rows))
    for column in range(columns):
        for row in range(rows):
            out[column, row] = given[row, column]


def _forward_at(starts, columns, order, values, x, bias, result, sizes):
    """`_forward` of arrays given by their addresses. sizes: outputs, inputs, kept places, images, samples of each."""
    outputs, inputs, count, images, samples = carray(sizes, 5)
    _forward(
        carray(starts, outputs + 1),
        carray(columns, count),
        carray(order, count),
        carray(values, count),
        carray(x, (images, inputs, samples)),
        carray(bias, outputs),
        carray(result, (images, outputs, samples)),
    )


def _backward_at(starts, columns, gradient, x, of_values, of_bias, sizes, zero):
    """Gradients of values and bias, from arrays given by their addresses; sizes as for `_forward_at`."""
    outputs, inputs, count, images, samples = carray(sizes, 5)
    gradients, xs = carray(gradient, (images, outputs, samples)), carray(x, (images, inputs, samples))
    sums, bias_sums = carray(of_values, count), carray(of_bias, outputs)
    sums[:] = zero
    bias_sums[:] = zero
    for image in range(images):
        _backward(
            carray(starts, outputs + 1), carray(columns, count), gradients[image], xs[image], zero, sums, bias_sums
        )


def _of_input_at(starts, rows, order, values, gradient, of_x, sizes, zero):
    """The gradient of x, from arrays given by their addresses; starts, rows and order are those of the transpose."""
    outputs, inputs, count, images, samples = carray(sizes, 5)
    gradients, result = carray(gradient, (images, outputs, samples)), carray(of_x, (images, inputs, samples))
    result[:] = zero
    for image in range(images):
        _product(
            carray(starts, inputs + 1),
            carray(rows, count),
            carray(order, count),
            carray(values, count),
            gradients[image],
            result[image],
        )


class _EntryPoints(NamedTuple):
    """The four compiled functions of this module that take memory addresses, for one dtype."""

    forward: Callable[..., None]
    backward: Callable[..., None]
    of_input: Callable[..., None]
    transpose: Callable[..., None]


@cache
def _entry_points(dtype: torch.dtype) -> _EntryPoints:
    """Compile the functions for values of `dtype`, once per process.

    They take addresses, because converting the tensors of a small layer to arrays takes longer than its product.
    """
    number = {torch.float32: (types.float32, c_float), torch.float64: (types.float64, c_double)}[dtype]
    index, value, sizes = ((types.CPointer(kind), c_void_p) for kind in (types.int32, number[0], types.int64))
    count = types.int64, c_int64

    def built(function: Any, *given: tuple[Any, Any]) -> Callable[..., None]:
        compiled = _compile(function, numba.cfunc, types.void(*(kind for kind, _ in given)))
        _COMPILED.append(compiled)
        return CFUNCTYPE(None, *(kind for _, kind in given))(compiled.address)

    return _EntryPoints(
        built(_forward_at, *[index] * 3, *[value] * 4, sizes),
        built(_backward_at, *[index] * 2, *[value] * 4, sizes, number),
        built(_of_input_at, *[index] * 3, *[value] * 3, sizes, number),
        built(_transpose_at, *[value] * 2, *[count] * 2),
    )


def _transposed(x: Tensor, units: int) -> Tensor:
    """Return the samples of `x`, shape (..., units), as the columns of a contiguous (units, samples) tensor."""
    rows = x if x.ndim == 2 else x.reshape(-1, units)
    columns = rows.t()
    if columns.is_contiguous():
        return columns
    # The compiled function takes a third of the time of torch's copy. It is slower if rows begin at multiples of 512
    # bytes, because a column's values then map to few sets of the cache.
    if len(rows) <= _LARGEST_BATCH and units * x.element_size() % 512 and rows.is_contiguous():
        result = rows.new_empty(units, len(rows))
        _entry_points(x.dtype).transpose(rows.data_ptr(), result.data_ptr(), len(rows), units)
        return result
    return columns.contiguous()


class CompiledLinear(Function):
    """`KeptPlaces.linear` and, with images, `KeptPlaces.convolve`, with compiled products."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, values: Tensor, bias: Tensor | None, places: Any, images: bool = False) -> Tensor:
        """As `KeptPlaces.linear`; as `KeptPlaces.convolve` if `images`."""
        outputs, inputs = places.shape
        start = values.new_zeros(outputs) if bias is None else bias
        if not (x.dtype == values.dtype == start.dtype and values.is_contiguous() and start.is_contiguous()):
            raise TypeError(f"x, values and bias must have one dtype, not {x.dtype}, {values.dtype}, {start.dtype}")
        if images:
            columns = x.detach().contiguous()  # (images, inputs, height, width)
            ctx.sizes = places.sizes(len(x), columns.numel() // (len(x) * inputs))
            result = columns.new_empty(len(x), outputs, *x.shape[2:])
        else:
            columns = _transposed(x, inputs)
            ctx.sizes = places.sizes(1, columns.shape[1])
            result = columns.new_empty(outputs, columns.shape[1])
        addresses = values.data_ptr(), columns.data_ptr(), start.data_ptr(), result.data_ptr()
        _entry_points(values.dtype).forward(*places.by_row(), *addresses, ctx.sizes)
        ctx.save_for_backward(columns, values)
        ctx.places, ctx.x_shape, ctx.images = places, x.shape, images
        if images:
            return result
        return result.t() if x.ndim == 2 else result.t().view(*x.shape[:-1], outputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, values and bias."""
        columns, values = ctx.saved_tensors
        places, sizes = ctx.places, ctx.sizes
        rows = gradient.contiguous() if ctx.images else _transposed(gradient, places.shape[0])
        run, of_x = _entry_points(values.dtype), None
        if ctx.needs_input_grad[0]:
            of_x = torch.empty_like(columns)
            run.of_input(*places.by_column(), values.data_ptr(), rows.data_ptr(), of_x.data_ptr(), sizes, 0.0)
            if not ctx.images:
                of_x = of_x.t() if len(ctx.x_shape) == 2 else of_x.t().reshape(ctx.x_shape)
        of_values, of_bias = torch.empty_like(values), values.new_empty(places.shape[0])
        addresses = rows.data_ptr(), columns.data_ptr(), of_values.data_ptr(), of_bias.data_ptr()
        run.backward(*places.by_row()[:2], *addresses, sizes, 0.0)
        return of_x, of_values, of_bias if ctx.needs_input_grad[2] else None, None, None
