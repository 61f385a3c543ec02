"""Scoring must leave no trace: network, statistics, gradients and random state come back as they were."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def untouched(net: nn.Module) -> Iterator[None]:
    """Restore buffers, parameters, gradients, train/eval flags and torch's random state of `net` on leaving.

    Autocast is switched off inside: a mask must not depend on the precision the network trains in. Costs one copy of
    parameters and buffers.
    """
    tensors = [*net.parameters(), *net.buffers()]
    values = [t.detach().clone() for t in tensors]
    grads = [(p, p.grad, p.requires_grad) for p in net.parameters()]
    modes = [(m, m.training) for m in net.modules()]
    devices = sorted({t.device.index for t in tensors if t.device.type == "cuda"})
    device_type = tensors[0].device.type
    for p, _, _ in grads:
        p.grad = None
    try:
        with torch.random.fork_rng(devices=devices), torch.autocast(device_type, enabled=False):
            yield
    finally:
        with torch.no_grad():
            for tensor, value in zip(tensors, values, strict=True):
                if not torch.equal(tensor, value):
                    tensor.copy_(value)
        for p, grad, requires_grad in grads:
            p.grad = grad
            p.requires_grad_(requires_grad)
        for module, mode in modes:
            module.training = mode
