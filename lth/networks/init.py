"""Initialisations by name, for the conv and linear weights of any network.

All draws come from torch's global generator: seed it and the same weights return. Kaiming is He et al. 2015 (arXiv
1502.01852), xavier Glorot & Bengio 2010, orthogonal Saxe et al. 2014 (arXiv 1312.6120), signed constants are
Ramanujan et al. 2020 (arXiv 1911.13299).
"""

import math
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from lth.networks.refuse import refuse_unknown

Network = TypeVar("Network", bound=nn.Module)

WEIGHTED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
FANS = ("fan_in", "fan_out")
RELU_GAIN = math.sqrt(2)


def signs_(weight: Tensor) -> Tensor:
    """+1 or -1 with equal chance. Drawn anew, so that a trained network's signs are not kept by a re-initialisation."""
    return weight.bernoulli_(0.5).mul_(2).sub_(1)


# std is gain / sqrt(fan); glorot is sqrt(2 / (fan_in + fan_out)), which knows no gain and no choice of fan.
DRAWS: dict[str, Callable[[Tensor, float, float, float], Tensor]] = {
    "kaiming_normal": lambda weight, std, glorot, gain: weight.normal_(0, std),
    "kaiming_uniform": lambda weight, std, glorot, gain: weight.uniform_(-math.sqrt(3) * std, math.sqrt(3) * std),
    "signed_constant": lambda weight, std, glorot, gain: signs_(weight).mul_(std),
    "unsigned_constant": lambda weight, std, glorot, gain: weight.fill_(std),
    "xavier_normal": lambda weight, std, glorot, gain: weight.normal_(0, glorot),
    "xavier_constant": lambda weight, std, glorot, gain: signs_(weight).mul_(glorot),
    "orthogonal": lambda weight, std, glorot, gain: nn.init.orthogonal_(weight, gain),
}
INITS = (*DRAWS, "torch_default")


def fans(layer: Any) -> tuple[int, int]:
    """Inputs that feed one output of `layer`, and outputs that one input feeds (borders and strides aside)."""
    outputs, inputs, *kernel = layer.weight.shape  # inputs are already counted per group, outputs are not
    area = math.prod(kernel)
    return inputs * area, outputs // getattr(layer, "groups", 1) * area


def draw_(layer: Any, init: str, fan: str, gain: float) -> None:
    """Draw one weight by the rule `init`."""
    fan_in, fan_out = fans(layer)
    # A classifier's fan_out is the number of classes: scaled by it, ten classes would get weights of size 0.45.
    chosen = fan_out if fan == "fan_out" and not isinstance(layer, nn.Linear) else fan_in
    DRAWS[init](layer.weight, gain / math.sqrt(chosen), math.sqrt(2 / (fan_in + fan_out)), gain)
    if layer.bias is not None:
        layer.bias.zero_()


@torch.no_grad()
def initialise_(net: Network, init: str = "kaiming_normal", fan: str = "fan_in", gain: float = RELU_GAIN) -> Network:
    """Draw every conv and linear weight anew, in place and in module order; return `net`.

    `fan` chooses what a convolution's kaiming and constant scales are divided by; linear layers always use fan_in.
    Biases become zero. `torch_default` draws weights and biases as the layers' own `reset_parameters` does.
    Batch norm is never touched.

    Raises `ValueError` for an unknown `init` or `fan`.
    """
    refuse_unknown("init", init, INITS)
    refuse_unknown("fan", fan, FANS)
    for layer in net.modules():
        if not isinstance(layer, WEIGHTED):
            continue
        if init == "torch_default":
            layer.reset_parameters()
        else:
            draw_(layer, init, fan, gain)
    return net
