"""Compressed sparse rows (CSR) for inference on a CPU: pruned weights are neither stored nor multiplied."""

import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from statistics import median
from time import perf_counter

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from lth.storage.atomic import write_with
from lth.tickets.export._masked import check_equal, images, masked_net
from lth.tickets.ticket import Ticket

_PARTS = ("crow", "col", "values")
_ROUNDS = 15  # timed runs of each network


class _SparseLinear(nn.Module):
    """A linear layer whose weight is a CSR matrix."""

    def __init__(self, layer: nn.Linear, weight: Tensor):
        super().__init__()
        self.weight, self.bias = weight, layer.bias

    def forward(self, inputs: Tensor) -> Tensor:
        flat = inputs.flatten(0, -2)
        outputs = (self.weight @ flat.t()).t().unflatten(0, inputs.shape[:-1])
        return outputs if self.bias is None else outputs + self.bias


class _SparseConv2d(nn.Module):
    """A convolution of one group with zero padding, as a CSR matrix times the patches of the image."""

    def __init__(self, layer: nn.Conv2d, weight: Tensor):
        super().__init__()
        self.weight, self.bias = weight, layer.bias
        self.window = {
            "kernel_size": layer.kernel_size,
            "stride": layer.stride,
            "padding": layer.padding,
            "dilation": layer.dilation,
        }

    def forward(self, inputs: Tensor) -> Tensor:
        n, _, *sides = inputs.shape
        patches = F.unfold(inputs, **self.window)
        outputs = self.weight @ patches.transpose(0, 1).reshape(patches.shape[1], -1)
        size = [self._side(side, i) for i, side in enumerate(sides)]
        outputs = outputs.view(-1, n, *size).transpose(0, 1)
        return outputs if self.bias is None else outputs + self.bias.view(-1, 1, 1)

    def _side(self, length: int, i: int) -> int:
        kernel, stride, padding, dilation = (value[i] for value in self.window.values())
        return (length + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def write(ticket: Ticket, path: Path, net: nn.Module, image_shape: tuple[int, int, int], batch: int = 1) -> str:
    """Write masked layers as CSR and everything else dense (safetensors), and compare the speed with the dense network.

    Convolutions with groups, a padding mode other than zeros or padding given as text stay dense, and so do layers
    whose weight attention reads.

    batch: images per batch in the speed measurement
    """
    dense = masked_net(ticket, net)
    tensors: dict[str, Tensor] = {}
    shapes: dict[str, list[int]] = {}
    for name, value in dense.state_dict().items():
        if name in ticket.masks and _layer(dense, name) is not None:
            tensors |= {f"csr/{name}/{part}": tensor for part, tensor in _csr(value.flatten(1)).items()}
            shapes[name] = list(value.shape)
        else:
            tensors[f"dense/{name}"] = value.contiguous()
    write_with(path, lambda temporary: save_file(tensors, temporary, metadata={"lth_csr": json.dumps(shapes)}))
    sparse = load(path, net)
    probe = images(image_shape, batch, net)
    with torch.no_grad():
        difference = check_equal(str(path), dense(probe), sparse(probe))
        fast, slow = _timed(lambda: sparse(probe), lambda: dense(probe))
    size = sum(t.numel() * t.element_size() for t in dense.state_dict().values())
    return (
        f"CSR of {len(shapes)} layers; outputs differ by {difference:.1g} (relative); {path.stat().st_size:,} bytes, "
        f"dense {size:,}; batch {batch}, {torch.get_num_threads()} threads: {1e3 * fast:.3g} ms, dense "
        f"{1e3 * slow:.3g} ms: {slow / fast:.2f} times the speed"
    )


def _content(path: str | Path) -> tuple[dict[str, list[int]], dict[str, Tensor], dict[str, list[Tensor]]]:
    """The shapes of the sparse matrices in a file, its dense tensors, and the parts of the matrices, all by name."""
    with safe_open(str(path), framework="pt") as file:
        shapes = json.loads((file.metadata() or {}).get("lth_csr", "null"))
        if not isinstance(shapes, dict):
            raise ValueError(f"{path} is not a CSR file of lth")
        names = [key for key in list(file.keys()) if key.startswith("dense/")]
        rest = {name.removeprefix("dense/"): file.get_tensor(name) for name in names}
        return shapes, rest, {name: [file.get_tensor(f"csr/{name}/{part}") for part in _PARTS] for name in shapes}


def load(path: str | Path, net: nn.Module) -> nn.Module:
    """A copy of `net` with the file's sparse matrices, in evaluation mode, for inference on a CPU.

    Raises ValueError for another kind of file, and if it does not fit `net`.
    """
    copy = deepcopy(net).eval().requires_grad_(False)
    try:
        shapes, rest, parts = _content(path)
    except (SafetensorError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is damaged or not a CSR file of lth: {error}") from None
    expected = {n: w.shape for n, w in copy.state_dict().items()}
    found = {n: w.shape for n, w in rest.items()} | {n: torch.Size(shape) for n, shape in shapes.items()}
    if found != expected:
        differing = [n for n in {**expected, **found} if expected.get(n) != found.get(n)]
        raise ValueError(f"{path} does not fit {type(net).__name__}: names or shapes differ at {differing}")
    copy.load_state_dict(rest, strict=False)
    for name, (crow, col, values) in parts.items():
        rows, columns = shapes[name][0], torch.Size(shapes[name][1:]).numel()
        with _beta_accepted():
            matrix = torch.sparse_csr_tensor(crow, col, values, (rows, columns), check_invariants=True)
        layer = _layer(copy, name)
        assert layer is not None
        sparse = _SparseLinear(layer, matrix) if isinstance(layer, nn.Linear) else _SparseConv2d(layer, matrix)
        copy.set_submodule(name.rpartition(".")[0], sparse)
    return copy


def _csr(matrix: Tensor) -> dict[str, Tensor]:
    """Row pointers, column indices (both int32) and values of the nonzero elements."""
    with _beta_accepted():
        sparse = matrix.to_sparse_csr()
    indices = sparse.crow_indices().int(), sparse.col_indices().int()
    return dict(zip(_PARTS, (*indices, sparse.values()), strict=True))


@contextmanager
def _beta_accepted() -> Iterator[None]:
    """Suppress torch's warning that CSR tensors are in beta."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*CSR tensor support is in beta.*")
        yield


def _timed(a: Callable[[], object], b: Callable[[], object]) -> tuple[float, float]:
    """Median seconds of each, run alternately so that a slower phase of the machine slows both."""
    for run in (a, b):
        run()
    seconds: tuple[list[float], list[float]] = [], []
    for _ in range(_ROUNDS):
        for run, times in zip((a, b), seconds, strict=True):
            start = perf_counter()
            run()
            times.append(perf_counter() - start)
    return median(seconds[0]), median(seconds[1])


def _layer(net: nn.Module, name: str) -> nn.Linear | nn.Conv2d | None:
    """The layer a weight belongs to, or None if it cannot be computed as a sparse product."""
    module, _, attribute = name.rpartition(".")
    layer = net.get_submodule(module)
    if attribute != "weight":
        return None
    if type(layer) is nn.Linear:  # no subclass: attention reads the weight of its projection without calling the layer
        return layer
    simple = type(layer) is nn.Conv2d and layer.groups == 1 and layer.padding_mode == "zeros"
    return layer if simple and not isinstance(layer.padding, str) else None
