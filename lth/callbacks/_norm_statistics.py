"""Estimation of batch-norm statistics over batches, at the start of a level and at an average of weights."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


@torch.no_grad()
def measure_(net: nn.Module, norms: Sequence[_BatchNorm], batches: Iterable[Tensor]) -> None:
    """Set the running statistics of `norms` to the mean of the statistics of `batches`.

    net: the network, evaluated on the batches; only `norms` are put into training mode
    norms: batch-norm layers of `net`
    batches: images
    """
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.train()
        norm.momentum = None  # a plain mean over the batches
    for x in batches:
        net(x)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
