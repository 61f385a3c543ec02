"""Initialisations by name, for the conv and linear weights of any network.

All random numbers come from torch's global generator, which the caller seeds. Kaiming is He et al. 2015 (arXiv
1502.01852), xavier Glorot & Bengio 2010, orthogonal Saxe et al. 2014 (arXiv 1312.6120), signed constants are
Ramanujan et al. 2020 (arXiv 1911.13299).
"""

import math
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from lth.networks._refuse import refuse_unknown

Network = TypeVar("Network", bound=nn.Module)

WEIGHTED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
_FANS = ("fan_in", "fan_out")
_RELU_GAIN = math.sqrt(2)


def _signs_(weight: Tensor) -> Tensor:
    """+1 or -1 with equal probability; independent of the signs the weight had."""
    return weight.bernoulli_(0.5).mul_(2).sub_(1)


# std is gain / sqrt(fan). glorot is sqrt(2 / (fan_in + fan_out)) and does not depend on gain or on the choice of fan.
_DRAWS: dict[str, Callable[[Tensor, float, float, float], Tensor]] = {
    "kaiming_normal": lambda weight, std, glorot, gain: weight.normal_(0, std),
    "kaiming_uniform": lambda weight, std, glorot, gain: weight.uniform_(-math.sqrt(3) * std, math.sqrt(3) * std),
    "signed_constant": lambda weight, std, glorot, gain: _signs_(weight).mul_(std),
    "unsigned_constant": lambda weight, std, glorot, gain: weight.fill_(std),
    "xavier_normal": lambda weight, std, glorot, gain: weight.normal_(0, glorot),
    "xavier_constant": lambda weight, std, glorot, gain: _signs_(weight).mul_(glorot),
    "orthogonal": lambda weight, std, glorot, gain: nn.init.orthogonal_(weight, gain),
}
INITS = (*_DRAWS, "torch_default", "torchvision")
_TORCHVISION_STD = 0.01  # of linear layers


def _fans(layer: Any) -> tuple[int, int]:
    """Number of inputs of one output of `layer`, and of outputs of one input (borders and strides ignored)."""
    outputs, inputs, *kernel = layer.weight.shape  # the weight has the inputs of one group and the outputs of all
    area = math.prod(kernel)
    return inputs * area, outputs // getattr(layer, "groups", 1) * area


def _draw_(layer: Any, init: str, fan: str, gain: float) -> None:
    """Draw the weight of one layer by `init`; its bias becomes zero."""
    fan_in, fan_out = _fans(layer)
    # The fan_out of a classifier is the number of classes: the std for 10 classes would be 0.45.
    chosen = fan_out if fan == "fan_out" and not isinstance(layer, nn.Linear) else fan_in
    _DRAWS[init](layer.weight, gain / math.sqrt(chosen), math.sqrt(2 / (fan_in + fan_out)), gain)
    if layer.bias is not None:
        layer.bias.zero_()


@torch.no_grad()
def initialise_(net: Network, init: str = "kaiming_normal", fan: str = "fan_in", gain: float = _RELU_GAIN) -> Network:
    """Draw every conv and linear weight, in place and in module order; returns `net`.

    Biases become zero, except with `torch_default`. Batch norm is not changed.

    init: a name of `INITS`; `torch_default` draws weights and biases as the layers' `reset_parameters` does,
        `torchvision` as that library draws VGG: convolutions kaiming_normal, linear layers N(0, 0.01^2)
    fan: fan_in or fan_out, which scales kaiming and constant weights of convolutions; linear layers use fan_in
    gain: factor of the standard deviation, which the xavier initialisations ignore; the default suits ReLU

    Raises ValueError for an unknown `init` or `fan`.
    """
    refuse_unknown("init", init, INITS)
    refuse_unknown("fan", fan, _FANS)
    for layer in net.modules():
        if not isinstance(layer, WEIGHTED):
            continue
        if init == "torch_default":
            layer.reset_parameters()
        elif init == "torchvision":
            _draw_(layer, "kaiming_normal", fan, gain)
            if isinstance(layer, nn.Linear):
                layer.weight.normal_(0, _TORCHVISION_STD)
        else:
            _draw_(layer, init, fan, gain)
    return net
