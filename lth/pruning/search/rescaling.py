"""One factor on a network's logits, found by descent and spread over its layers (arXiv 2210.02412's `scaling`)."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lth.pruning.prunable import prunable


@torch.no_grad()
def fit_scale(
    logits: Tensor,
    labels: Tensor,
    total: Callable[[Tensor], Tensor] = lambda part: part,
    steps: int = 20,
    lr: float = 0.1,
) -> float:
    """The factor on `logits` (samples x classes) after `steps` of plain SGD on the mean cross-entropy, from 1.

    total: sums a tensor over those who hold the other samples. A factor that is not over 0, or not finite, becomes 1.
    """
    z = logits.double()
    right = z.gather(1, labels.unsqueeze(1)).sum()
    scale = torch.ones_like(right)
    for _ in range(steps):
        slope = (torch.softmax(scale * z, 1) * z).sum() - right
        whole, count = total(torch.stack([slope, slope.new_tensor(len(z))]))
        scale = scale - lr * whole / count
    found = float(scale)
    return found if math.isfinite(found) and found > 0 else 1.0


@torch.no_grad()
def rescale_(net: nn.Module, scale: float) -> None:
    """Multiply conv and linear weights by scale^(1/L), the bias of the l-th of these L layers by scale^(l/L).

    Between ReLUs the logits are then multiplied by `scale`. Running statistics of batch norm go with their inputs, the
    weights' factor; its output stays, and the logits get the factor of the last layer only.
    """
    parameters, weights = dict(net.named_parameters()), prunable(net)
    of_weights = scale ** (1 / len(weights))
    for place, (name, weight) in enumerate(weights.items(), start=1):
        weight.mul_(of_weights)
        bias = parameters.get(name.removesuffix("weight") + "bias")
        if bias is not None:
            bias.mul_(scale ** (place / len(weights)))
    for norm in net.modules():
        if isinstance(norm, _BatchNorm) and norm.running_mean is not None and norm.running_var is not None:
            norm.running_mean.mul_(of_weights)
            norm.running_var.mul_(of_weights**2)
