"""Products of a matrix in compressed sparse rows (CSR) with a dense one, compiled by numba for one thread.

Rows of the dense matrices are samples of one unit, so that the innermost loops run over memory in order. Four kept
values are taken at a time, because a row of the result or of the gradient is then read once for four products.
"""

from typing import Any

import numba
from numpy.typing import NDArray

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
def product(starts: Array, columns: Array, values: Array, x: Array, bias: Array, result: Array) -> None:
    """result = matrix @ x + bias.

    starts: where each row of the matrix begins in `columns` and `values`, and where the last one ends
    columns: column of each value
    x: shape (inputs, samples)
    bias: shape (outputs,)
    result: shape (outputs, samples)
    """
    samples = x.shape[1]
    for row in range(len(starts) - 1):
        out = result[row]
        for s in range(samples):
            out[s] = bias[row]
        k, end = starts[row], starts[row + 1]
        while k + 4 <= end:
            v0, v1, v2, v3 = values[k], values[k + 1], values[k + 2], values[k + 3]
            x0, x1, x2, x3 = x[columns[k]], x[columns[k + 1]], x[columns[k + 2]], x[columns[k + 3]]
            for s in range(samples):
                out[s] += v0 * x0[s] + v1 * x1[s] + v2 * x2[s] + v3 * x3[s]
            k += 4
        while k < end:
            v0, x0 = values[k], x[columns[k]]
            for s in range(samples):
                out[s] += v0 * x0[s]
            k += 1


@_compile
def gradients(
    starts: Array, columns: Array, gradient: Array, x: Array, zero: Any, of_values: Array, of_bias: Array
) -> None:
    """of_values = (gradient @ x.T) at the kept places; of_bias = the sum of `gradient` over samples.

    starts, columns, x: as for `product`
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
