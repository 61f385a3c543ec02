"""Weights that a network transforms before use, as weight standardisation does (arXiv 1903.10520).

Such weights cannot be pruned: a parameter of 0 would act as -mean / std.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from lth.pruning.masks import Masks
from lth.pruning.prunable import weights_of
from lth.pruning.restore import preserved

# parts of the names of torch's operators
_PRODUCTS = ("conv", "mm", "mv", "dot", "linear", "attention", "transformer", "rnn", "lstm", "gru")
_STATISTICS = ("mean", "var", "std")


class _Readers(TorchDispatchMode):
    """Records the storages that any operator reads, that products and convolutions read, and that statistics read."""

    def __init__(self) -> None:
        super().__init__()
        self.read: set[int] = set()
        self.multiplied: set[int] = set()
        self.measured: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        storages = {_storage(tensor) for tensor in _tensors(args)}
        self.read |= storages
        name = func.overloadpacket.__name__
        if any(part in name for part in _PRODUCTS):
            self.multiplied |= storages
        if any(part in name for part in _STATISTICS):
            self.measured |= storages
        return func(*args, **(kwargs or {}))


def standardised(net: nn.Module, masks: Masks, image_shape: tuple[int, int, int]) -> list[str]:
    """Names of the masked weights that a forward pass reads, but never as a factor of a product or convolution.

    image_shape: channels, height, width

    Of parameters outside of layers, such as embeddings, only those of which a mean or variance is taken are named.
    Raises ValueError if the network cannot compute an image of this shape.
    """
    weights = masks.weights(net)
    of_layers = {_storage(weight) for module in net.modules() for weight in weights_of(module)}
    with preserved(net), torch.no_grad(), _Readers() as readers:
        net.eval()
        image = torch.zeros(1, *image_shape, device=weights[0].device, dtype=weights[0].dtype)
        try:
            net.forward(image)
        except RuntimeError as error:
            raise ValueError(f"{type(net).__name__} cannot take an image of shape {image_shape}: {error}") from error
    changed = (readers.read & of_layers | readers.measured) - readers.multiplied
    return [name for name, weight in zip(masks, weights, strict=True) if _storage(weight) in changed]


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)
