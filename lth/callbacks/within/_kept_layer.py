"""A linear layer or 1x1 convolution whose weight is stored, while a level trains, as the vector of its kept values."""

from collections import Counter
from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from lth.pruning.kept_places import KeptPlaces


class KeptLayer:
    """A layer whose weight is stored as the vector of its kept values between `enter` and `leave`.

    The parameter stays the same object, so that optimizers and averages go on with it; its data are replaced. The
    layer's state dict holds the whole matrix throughout, under its usual name, with zeros at pruned places.

    layer: one that `sparse_layers` finds
    mask: mask of the layer's weight; must not change from `enter` to `leave`
    """

    def __init__(self, layer: nn.Linear | nn.Conv2d, mask: Tensor):
        self.layer, self.weight, self.places = layer, layer.weight, KeptPlaces(mask)
        self._pointwise = mask.ndim == 4
        self._handle: Any = None

    def enter(self) -> None:
        """Replace the matrix by its kept values."""
        self._set(self.places.values_of(self.weight))
        self.layer.forward = partial(_convolve if self._pointwise else _forward, self.layer, self.places)
        self._handle = self.layer._register_state_dict_hook(self._store)

    def leave(self) -> None:
        """Replace the kept values by the matrix."""
        self._handle.remove()
        del self.layer.forward
        self._set(self.places.dense_of(self.weight))

    def kept(self, tensor: Tensor) -> Tensor:
        """The kept values of a tensor of the matrix's shape; any other tensor unchanged."""
        return self.places.values_of(tensor) if tensor.shape == self.places.weight_shape else tensor

    def dense(self, tensor: Tensor) -> Tensor:
        """The matrix of a vector with one value per kept weight; any other tensor unchanged."""
        return self.places.dense_of(tensor) if tensor.shape == (self.places.count,) else tensor

    def _set(self, values: Tensor) -> None:
        self.weight.grad = None
        self.weight.data = values

    def _store(self, module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
        state[f"{prefix}weight"] = self.places.dense_of(self.weight)


def sparse_layers(net: nn.Module, names: Iterable[str]) -> dict[str, nn.Linear | nn.Conv2d]:
    """Layers that can be computed from kept values, by name of the weight: linear layers and 1x1 convolutions.

    Each owns one of the weights `names` and shares it with no other module. Subclasses are left out, since they may
    compute something else, and so are frozen and shared weights, and convolutions with groups or padding.
    """
    slots = Counter(id(p) for module in net.modules() for p in module._parameters.values() if p is not None)
    found = {}
    for name in names:
        owner, _, key = name.rpartition(".")
        layer, weight = net.get_submodule(owner), net.get_parameter(name)
        known = type(layer) is nn.Linear or (type(layer) is nn.Conv2d and _is_pointwise(layer))
        own = known and key == "weight" and slots[id(weight)] == 1
        if own and weight.requires_grad and weight.dtype in (torch.float32, torch.float64):
            found[name] = layer
    return found


def _is_pointwise(layer: nn.Conv2d) -> bool:
    return layer.kernel_size == (1, 1) and layer.groups == 1 and layer.padding in ((0, 0), "valid", "same")


def _forward(layer: nn.Linear, places: KeptPlaces, x: Tensor) -> Tensor:
    return places.linear(x, layer.weight, layer.bias)


def _convolve(layer: nn.Conv2d, places: KeptPlaces, x: Tensor) -> Tensor:
    rows, columns = layer.stride
    return places.convolve(x if rows == columns == 1 else x[:, :, ::rows, ::columns], layer.weight, layer.bias)
