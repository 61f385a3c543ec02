"""What follows a layer when the network runs: the batch norms and activation functions that read its outputs.

Found by watching a forward pass, never by names: an output is followed through everything that keeps its channels
(batch norm, activations, sums, pooling) until the next layer.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from lth.pruning.prunable import LAYERS
from lth.pruning.restore import preserved

ACTIVATIONS = {
    *(F.relu, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_, F.relu6, F.hardtanh, F.leaky_relu, F.elu, F.selu),
    *(F.celu, F.gelu, F.silu, F.mish, F.hardswish, F.hardsigmoid, F.softplus, F.prelu, torch.prelu, F.sigmoid),
    *(torch.sigmoid, Tensor.sigmoid, F.tanh, torch.tanh, Tensor.tanh, torch.clamp, Tensor.clamp, Tensor.clamp_),
}
BATCH_NORM = {F.batch_norm, torch.batch_norm}
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
Seen = Callable[[str, Tensor], None]


class Followers(TorchFunctionMode):
    """Watches a forward pass of `net`.

    norms: batch norm's module name -> weights whose outputs reach it. direct: weight -> the batch norm that reads it
    alone and first. seen: called with a weight's name and the first activation its outputs reach.
    """

    def __init__(self, net: nn.Module, seen: Seen | None = None):
        super().__init__()
        self.norms: dict[str, set[str]] = {}
        self.direct: dict[str, str] = {}
        self._seen = seen
        self._layers = {
            id(m.weight): f"{n}.weight".lstrip(".") for n, m in net.named_modules() if isinstance(m, LAYERS)
        }
        self._norms = {id(t): n for n, m in net.named_modules() if isinstance(m, BATCH_NORMS) for t in _tensors(m)}
        self._writers: Any = WeakTensorKeyDictionary()  # tensor -> weights whose outputs it carries
        self._waiting: Any = WeakTensorKeyDictionary()  # tensor -> those that have reached no activation yet

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and result.dim() > 1:
            self._follow(func, [*_flat(args), *_flat((kwargs or {}).values())], result)
        return result

    def writers(self, tensor: Tensor) -> set[str]:
        """The weights whose outputs `tensor` carries, channel by channel."""
        return self._writers.get(tensor, set())

    def _follow(self, func: Any, inputs: list[Tensor], result: Tensor) -> None:
        layer = next((t for t in inputs if id(t) in self._layers), None)
        if layer is not None:
            name = self._layers[id(layer)]
            fits = result.shape[1] == layer.shape[0] and (result.dim() == 2 or layer.dim() > 2)
            self._writers[result] = self._waiting[result] = {name} if fits else set()
            return
        same = [t for t in inputs if t.dim() > 1 and t.shape[1] == result.shape[1] and t in self._writers]
        writers, waiting = (set().union(*(d[t] for t in same)) for d in (self._writers, self._waiting))
        if func in BATCH_NORM:
            self._note_norm(next(self._norms[id(t)] for t in inputs if id(t) in self._norms), writers)
        if func in ACTIVATIONS:
            if self._seen is not None:
                for name in waiting:
                    self._seen(name, result)
            waiting = set()
        self._writers[result], self._waiting[result] = writers, waiting

    def _note_norm(self, norm: str, writers: set[str]) -> None:
        self.norms.setdefault(norm, set()).update(writers)
        if len(writers) == 1:
            self.direct.setdefault(next(iter(writers)), norm)


def watch(net: nn.Module, images: Iterable[Tensor], seen: Seen | None = None) -> tuple[Followers, set[str]]:
    """What follows the layers of `net` on `images`, in evaluation mode, and the weights whose outputs are its own.

    `net` is restored.
    """
    followers, ends = Followers(net, seen), set()
    with preserved(net), torch.no_grad():
        net.eval()
        for x in images:
            with followers:
                out = net.forward(x)  # not net(...): compiled code would hide what it calls
            ends |= followers.writers(out)
    return followers, ends


def blank(net: nn.Module, image_shape: tuple[int, int, int]) -> Tensor:
    """One image of zeros where the network is, in its precision."""
    parameter = next(net.parameters())
    return torch.zeros(1, *image_shape, device=parameter.device, dtype=parameter.dtype)


def _tensors(norm: nn.Module) -> list[Tensor]:
    return [t for t in (*norm._parameters.values(), *norm._buffers.values()) if t is not None and t.dim() == 1]


def _flat(values: Iterable[Any]) -> list[Tensor]:
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += _flat(value)
    return found


def per_output(values: Tensor) -> Tensor:
    """The mean of a layer's activations over images and positions: one number an output, in double precision."""
    return values.detach().double().transpose(0, 1).flatten(1).mean(1)
