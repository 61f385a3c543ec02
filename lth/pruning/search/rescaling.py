"""Rescaling frozen weights by one factor on the logits, fitted by gradient descent (`scaling`, arXiv 2210.02412)."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from lth.pruning.prunable import batch_norms, bias_name, prunable


@torch.no_grad()
def fit_scale(
    logits: Tensor,
    labels: Tensor,
    total: Callable[[Tensor], Tensor] = lambda part: part,
    steps: int = 20,
    lr: float = 0.1,
) -> float:
    """The factor on `logits` after `steps` steps of SGD from 1 on the mean cross-entropy, without momentum.

    logits: samples x classes
    labels: class indices
    total: sums a tensor over all ranks that hold samples
    steps, lr: number of SGD steps, and learning rate

    Returns 1 if the fit ends at a factor that is not positive and finite.
    """
    z = logits.double()
    correct = z.gather(1, labels.unsqueeze(1)).sum()
    scale = torch.ones_like(correct)
    for _ in range(steps):
        slope = (torch.softmax(scale * z, 1) * z).sum() - correct
        whole, count = total(torch.stack([slope, slope.new_tensor(len(z))]))
        scale = scale - lr * whole / count
    factor = float(scale)
    return factor if math.isfinite(factor) and factor > 0 else 1.0


@torch.no_grad()
def rescale_(net: nn.Module, scale: float) -> None:
    """Multiply the weights of the L conv and linear layers by scale^(1/L), and the bias of layer l by scale^(l/L).

    With ReLUs between the layers, this multiplies the logits by `scale`. Running statistics of batch norm are scaled
    like their inputs, so that its outputs do not change: the logits then get the last layer's factor alone.
    """
    parameters, weights = dict(net.named_parameters()), prunable(net)
    of_weights = scale ** (1 / len(weights))
    for index, (name, weight) in enumerate(weights.items(), start=1):
        weight.mul_(of_weights)
        bias = parameters.get(bias_name(name))
        if bias is not None:
            bias.mul_(scale ** (index / len(weights)))
    for norm in batch_norms(net).values():
        if norm.running_mean is not None and norm.running_var is not None:
            norm.running_mean.mul_(of_weights)
            norm.running_var.mul_(of_weights**2)
