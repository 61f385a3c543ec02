"""Linear layers and 1x1 convolutions computed from their kept weights, with gradients at kept places alone (CPU)."""

import warnings
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

# torch gives this warning at the first CSR tensor of a process
warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta state", UserWarning)

_CACHE, _SAMPLES = 2**20, 32  # bytes of a core's own cache; samples of a part


class KeptPlaces:
    """The places of a weight matrix that a mask keeps, as compressed sparse rows (CSR) of the matrix and its transpose.

    mask: 0/1, shape (outputs, inputs), or (outputs, inputs, 1, 1) of a 1x1 convolution

    The kept values of a matrix are a vector in the order of `values_of`, row by row. Indices are 32-bit, as MKL takes
    them; others would be converted in every product.
    """

    def __init__(self, mask: Tensor):
        kept = mask.bool().flatten(1)
        rows, columns = kept.nonzero(as_tuple=True)
        self.shape, self.weight_shape = kept.shape, mask.shape
        self.count = len(rows)
        self._crow, self._col = _compressed(kept.sum(1)), columns.int()
        # a stable sort by column, in which rows stay in order
        self._order = torch.sort(columns, stable=True).indices
        self._crow_t, self._col_t = _compressed(kept.sum(0)), rows[self._order].int()
        self._order = self._order.int()
        self._linear = compiled_linear() or _Linear
        self._identity = torch.arange(self.count, dtype=torch.int32)
        self._sizes: dict[tuple[int, int], Tensor] = {}

    def values_of(self, dense: Tensor) -> Tensor:
        """The kept values of a tensor of the weight's shape, as a new vector."""
        return dense.detach().reshape(-1)[self._flat()]

    def dense_of(self, values: Tensor) -> Tensor:
        """A new weight with `values` at the kept places and zeros elsewhere."""
        dense = values.new_zeros(self.shape.numel())
        dense[self._flat()] = values.detach()
        return dense.view(self.weight_shape)

    def linear(self, x: Tensor, values: Tensor, bias: Tensor | None = None) -> Tensor:
        """`torch.nn.functional.linear(x, self.dense_of(values), bias)` without a dense matrix, forward and backward.

        x: shape (..., inputs), on the CPU; float32 or float64, as `values`
        values: kept values, a vector; its gradient is a vector too
        bias: shape (outputs,)

        Sparse products are fastest with dense matrices whose rows hold the samples of one unit. x is therefore
        transposed unless its memory has this layout already, and the memory of the result has it too. Elementwise
        functions keep the layout, so that the next product need not transpose. Sums are computed in another order than
        in the dense product. Differentiable once.
        """
        result: Tensor = self._linear.apply(x, values, bias, self)
        return result

    def convolve(self, x: Tensor, values: Tensor, bias: Tensor | None = None) -> Tensor:
        """`torch.nn.functional.conv2d(x, self.dense_of(values), bias)` of a 1x1 convolution; otherwise as `linear`.

        x: shape (images, inputs, height, width). Each channel of an image is a row of samples, so that compiled
            products transpose nothing.
        """
        if self._linear is _Linear:
            return self.linear(x.permute(0, 2, 3, 1), values, bias).permute(0, 3, 1, 2)
        result: Tensor = self._linear.apply(x, values, bias, self, True)
        return result

    def sizes(self, images: int, samples: int) -> int:
        """The address of an int64 array for compiled products: outputs, inputs, places, images, samples per image."""
        found = self._sizes.get((images, samples))
        if found is None:
            found = self._sizes[images, samples] = torch.tensor([*self.shape, self.count, images, samples])
        return found.data_ptr()

    def by_row(self) -> tuple[int, int, int]:
        """Addresses for compiled products: where rows start, the column of each place, the index of its value."""
        return self._crow.data_ptr(), self._col.data_ptr(), self._identity.data_ptr()

    def by_column(self) -> tuple[int, int, int]:
        """The same of the transposed matrix."""
        return self._crow_t.data_ptr(), self._col_t.data_ptr(), self._order.data_ptr()

    def matrix(self, values: Tensor) -> Tensor:
        """The matrix as a sparse CSR tensor that shares memory with `values`."""
        return _csr(self._crow, self._col, values, self.shape)

    def transposed(self, values: Tensor) -> Tensor:
        """The transposed matrix as a sparse CSR tensor, with a copy of `values`."""
        ordered = torch.index_select(values, 0, self._order)
        return _csr(self._crow_t, self._col_t, ordered, self.shape[::-1])

    def _flat(self) -> Tensor:
        """The index of each kept place in the flattened matrix."""
        per_row = self._crow.diff().long()
        rows = torch.repeat_interleave(torch.arange(self.shape[0]), per_row)
        return rows * self.shape[1] + self._col


def compiled_linear() -> type[Function] | None:
    """The linear layer compiled by numba; None if numba is not installed or torch uses several threads."""
    if torch.get_num_threads() > 1:
        return None
    try:
        from lth.pruning._compiled_linear import CompiledLinear
    except ImportError:
        return None
    return CompiledLinear


class _Linear(Function):
    """`KeptPlaces.linear` with products of torch and MKL."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, values: Tensor, bias: Tensor | None, places: KeptPlaces) -> Tensor:
        columns = x.reshape(-1, places.shape[1]).t().contiguous()  # (inputs, samples)
        start = values.new_zeros(1, 1) if bias is None else bias.unsqueeze(1)
        result = _product(places.matrix(values), columns, start)
        ctx.save_for_backward(columns if ctx.needs_input_grad[1] else None, values)
        ctx.places, ctx.x_shape = places, x.shape
        return result.t().view(*x.shape[:-1], places.shape[0])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        columns, values = ctx.saved_tensors
        places: KeptPlaces = ctx.places
        outputs = gradient.reshape(-1, places.shape[0]).t().contiguous()  # (outputs, samples)
        of_x = of_values = of_bias = None
        if ctx.needs_input_grad[0]:
            start = values.new_zeros(1, 1)
            of_x = _product(places.transposed(values), outputs, start).t().reshape(ctx.x_shape)
        if ctx.needs_input_grad[1]:
            of_values = torch.zeros_like(values)
            matrix = places.matrix(of_values)
            torch.sparse.sampled_addmm(matrix, outputs, columns.t(), out=matrix)
        if ctx.needs_input_grad[2]:
            of_bias = outputs.sum(1)
        return of_x, of_values, of_bias, None


def _product(matrix: Tensor, columns: Tensor, start: Tensor) -> Tensor:
    """start + matrix @ columns. Large products run in parts of 32 samples, which fit the cache: 1.7 times as fast."""
    rows, samples = matrix.shape[0], columns.shape[1]
    if (rows + columns.shape[0]) * samples * columns.element_size() < _CACHE or samples <= _SAMPLES:
        return torch.addmm(start, matrix, columns)
    result = columns.new_empty(rows, samples)
    for begin in range(0, samples, _SAMPLES):
        part = columns[:, begin : begin + _SAMPLES].contiguous()
        result[:, begin : begin + _SAMPLES] = torch.addmm(start, matrix, part)
    return result


def _compressed(counts: Tensor) -> Tensor:
    """The row pointers of a CSR matrix with these numbers of values in its rows."""
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)]).int()


def _csr(crow: Tensor, col: Tensor, values: Tensor, shape: Any) -> Tensor:
    return torch.sparse_csr_tensor(crow, col, values.detach(), tuple(shape), check_invariants=False)
