"""Linear layers with a matrix in compressed sparse rows (CSR), compiled by numba for one thread.

Rows of the dense matrices are samples of one unit, so that the innermost loops run over memory in order. Four kept
values are taken at a time, because a row of the result or of the gradient is then read once for four products.
"""

from typing import Any

import numba
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

Array = NDArray[Any]
# Sums may be computed in vectors and with fused multiply-adds; not-a-number and infinity stay what they are.
_OPTIONS: dict[str, Any] = {"fastmath": {"reassoc", "contract"}, "nogil": True, "error_model": "numpy"}


def _compile(function: Any) -> Any:
    """Compile at the first call. The machine code is kept on disk, if numba finds a folder that it may write."""
    try:
        return numba.njit(**_OPTIONS, cache=True)(function)
    except RuntimeError:
        return numba.njit(**_OPTIONS)(function)


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
    """result = matrix @ x + bias; arguments as for `_product`, bias of shape (outputs,)."""
    for row in range(len(bias)):
        result[row] = bias[row]
    _product(starts, columns, order, values, x, result)


@_compile
def _backward(
    starts: Array, columns: Array, gradient: Array, x: Array, zero: Any, of_values: Array, of_bias: Array
) -> None:
    """of_values = (gradient @ x.T) at the kept places; of_bias = the sum of `gradient` over samples.

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
        of_bias[row] = total
        k, end = starts[row], starts[row + 1]
        while k + 4 <= end:
            x0, x1, x2, x3 = x[columns[k]], x[columns[k + 1]], x[columns[k + 2]], x[columns[k + 3]]
            a0, a1, a2, a3 = zero, zero, zero, zero
            for s in range(samples):
                a0 += g[s] * x0[s]
                a1 += g[s] * x1[s]
                a2 += g[s] * x2[s]
                a3 += g[s] * x3[s]
            of_values[k], of_values[k + 1], of_values[k + 2], of_values[k + 3] = a0, a1, a2, a3
            k += 4
        while k < end:
            x0, a0 = x[columns[k]], zero
            for s in range(samples):
                a0 += g[s] * x0[s]
            of_values[k] = a0
            k += 1


class CompiledLinear(Function):
    """`KeptPlaces.linear` with compiled products."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, values: Tensor, bias: Tensor | None, places: Any) -> Tensor:
        outputs, inputs = places.shape
        columns = x.detach().reshape(-1, inputs).t().contiguous()  # (inputs, samples)
        start = values.new_zeros(outputs) if bias is None else bias.detach()
        result = columns.new_empty(outputs, columns.shape[1])
        _forward(*places.by_row, values.detach().numpy(), columns.numpy(), start.numpy(), result.numpy())
        ctx.save_for_backward(columns, values)
        ctx.places, ctx.x_shape = places, x.shape
        return result.t().view(*x.shape[:-1], outputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        columns, values = ctx.saved_tensors
        places, (of_x, of_values, of_bias) = ctx.places, (None, None, None)
        outputs = gradient.reshape(-1, places.shape[0]).t().contiguous()  # (outputs, samples)
        g = outputs.numpy()
        if ctx.needs_input_grad[0]:
            sums = torch.zeros_like(columns)
            _product(*places.by_column, values.detach().numpy(), g, sums.numpy())
            of_x = sums.t().reshape(ctx.x_shape)
        if ctx.needs_input_grad[1]:
            of_values, of_bias = torch.empty_like(values), outputs.new_empty(places.shape[0])
            starts, places_of_row, _ = places.by_row
            zero = g.dtype.type(0)
            _backward(starts, places_of_row, g, columns.numpy(), zero, of_values.numpy(), of_bias.numpy())
        if ctx.needs_input_grad[2] and of_bias is None:
            of_bias = outputs.sum(1)
        return of_x, of_values, of_bias if ctx.needs_input_grad[2] else None, None
