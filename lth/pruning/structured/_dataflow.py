"""Which batch norms and activation functions read the outputs of each layer.

A forward pass is traced, so nothing depends on module names: the outputs of a layer are followed through every
operation that keeps their channels (batch norm, activation, sum, pooling) up to the next layer.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from lth.pruning.prunable import LAYERS
from lth.pruning.restore import preserved

_ACTIVATIONS = {
    *(F.relu, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_, F.relu6, F.hardtanh, F.leaky_relu, F.elu, F.selu),
    *(F.celu, F.gelu, F.silu, F.mish, F.hardswish, F.hardsigmoid, F.softplus, F.prelu, torch.prelu, F.sigmoid),
    *(torch.sigmoid, Tensor.sigmoid, F.tanh, torch.tanh, Tensor.tanh, torch.clamp, Tensor.clamp, Tensor.clamp_),
}
_BATCH_NORM = {F.batch_norm, torch.batch_norm}
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
OnActivation = Callable[[str, Tensor], None]  # weight name, activations (batch first)


@dataclass(frozen=True)
class Dataflow:
    """Which batch norms read the outputs of which conv and linear layers.

    norm_sources: batch norm's module name -> names of the weights whose outputs it normalises
    norm_of: weight name -> module name of the first batch norm that reads this layer's outputs and no other's
    network_outputs: names of the weights whose outputs are the outputs of the network
    """

    norm_sources: dict[str, set[str]]
    norm_of: dict[str, str]
    network_outputs: set[str]


def trace(net: nn.Module, images: Iterable[Tensor], on_activation: OnActivation | None = None) -> Dataflow:
    """The dataflow of `net`, from forward passes in evaluation mode; `net` is restored afterwards.

    images: batches of images
    on_activation: called in every pass with each weight's name and the first activation its outputs reach
    """
    tracer = _Tracer(net, on_activation)
    network_outputs: set[str] = set()
    with preserved(net), torch.no_grad():
        net.eval()
        for x in images:
            with tracer:
                out = net.forward(x)  # `net(x)` may run compiled code, in which no function call can be seen
            network_outputs |= tracer.sources(out)
    return Dataflow(tracer.norm_sources, tracer.norm_of, network_outputs)


def zero_image(net: nn.Module, image_shape: tuple[int, int, int]) -> Tensor:
    """A batch of one image of zeros, on the device and in the precision of `net`."""
    parameter = next(net.parameters())
    return torch.zeros(1, *image_shape, device=parameter.device, dtype=parameter.dtype)


class _Tracer(TorchFunctionMode):
    """Fills `norm_sources` and `norm_of` (see `Dataflow`) while a forward pass runs inside it."""

    def __init__(self, net: nn.Module, on_activation: OnActivation | None = None):
        super().__init__()
        self.norm_sources: dict[str, set[str]] = {}
        self.norm_of: dict[str, str] = {}
        self._on_activation = on_activation
        self._layers = {
            id(m.weight): f"{n}.weight".lstrip(".") for n, m in net.named_modules() if isinstance(m, LAYERS)
        }
        self._norms = {id(t): n for n, m in net.named_modules() if isinstance(m, _BATCH_NORMS) for t in _vectors(m)}
        self._sources: Any = WeakTensorKeyDictionary()  # tensor -> weights whose outputs it carries
        self._unactivated: Any = WeakTensorKeyDictionary()  # tensor -> those that have passed no activation yet

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and result.dim() > 1:
            self._follow(func, [*_tensors(args), *_tensors((kwargs or {}).values())], result)
        return result

    def sources(self, tensor: Tensor) -> set[str]:
        """The weights whose outputs are the channels of `tensor`."""
        return self._sources.get(tensor, set())

    def _follow(self, func: Any, inputs: list[Tensor], result: Tensor) -> None:
        layer = next((t for t in inputs if id(t) in self._layers), None)
        if layer is not None:
            name = self._layers[id(layer)]
            fits = result.shape[1] == layer.shape[0] and (result.dim() == 2 or layer.dim() > 2)
            self._sources[result] = self._unactivated[result] = {name} if fits else set()
            return
        same = [t for t in inputs if t.dim() > 1 and t.shape[1] == result.shape[1] and t in self._sources]
        sources, unactivated = (set().union(*(d[t] for t in same)) for d in (self._sources, self._unactivated))
        if func in _BATCH_NORM:
            self._note_norm(next(self._norms[id(t)] for t in inputs if id(t) in self._norms), sources)
        if func in _ACTIVATIONS:
            if self._on_activation is not None:
                for name in unactivated:
                    self._on_activation(name, result)
            unactivated = set()
        self._sources[result], self._unactivated[result] = sources, unactivated

    def _note_norm(self, norm: str, sources: set[str]) -> None:
        self.norm_sources.setdefault(norm, set()).update(sources)
        if len(sources) == 1:
            self.norm_of.setdefault(next(iter(sources)), norm)


def _vectors(norm: nn.Module) -> list[Tensor]:
    return [t for t in (*norm._parameters.values(), *norm._buffers.values()) if t is not None and t.dim() == 1]


def _tensors(values: Iterable[Any]) -> list[Tensor]:
    """The tensors among function arguments, lists and tuples flattened."""
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += _tensors(value)
    return found
