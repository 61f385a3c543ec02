"""Temporarily replaces tensors of a network, and restores parameters, statistics and random state."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lth.pruning.masks import raw


@contextmanager
def preserved(net: nn.Module) -> Iterator[None]:
    """Restore parameters, buffers, gradients, train/eval modes and torch's random state on leaving, to the last bit.

    Tensors may be changed in place, converted (`net.double()`) or replaced inside. Inside, gradients are None, and
    autocast is off, so that a mask does not depend on the precision of training. Costs one copy of parameters and
    buffers.
    """
    tensors = [*net.parameters(), *net.buffers()]
    values = [(t, t.data, t.detach().clone()) for t in tensors]
    grads = [(p, p.grad, p.requires_grad) for p in net.parameters()]
    modules = [(m, m.training, dict(m._parameters), dict(m._buffers)) for m in net.modules()]
    devices = sorted({t.device.index for t in tensors if t.device.type == "cuda"})
    device_type = tensors[0].device.type
    for p, _, _ in grads:
        p.grad = None
    compiled, net._compiled_call_impl = net._compiled_call_impl, None  # scoring in float64 must not recompile
    try:
        with torch.random.fork_rng(devices=devices), torch.autocast(device_type, enabled=False):
            yield
    finally:
        net._compiled_call_impl = compiled
        for module, mode, parameters, buffers in modules:
            module.training = mode
            _put_back(module._parameters, parameters)
            _put_back(module._buffers, buffers)
        for tensor, storage, value in values:
            if tensor.dtype != storage.dtype or tensor.data_ptr() != storage.data_ptr():
                tensor.data = storage
            if not torch.equal(_words(tensor), _words(value)):  # compare bits: -0.0 == 0.0
                storage.copy_(value)
        for p, grad, requires_grad in grads:
            p.grad = grad
            p.requires_grad_(requires_grad)


@contextmanager
def replaced(net: nn.Module, tensors: Mapping[str, Tensor]) -> Iterator[None]:
    """Let `net` compute with other tensors inside, also in a backward pass that repeats parts of the forward pass.

    tensors: parameter or buffer name -> tensor; a shared one is replaced wherever it is used

    `torch.func.functional_call` restores the tensors before the backward pass, where activation checkpointing would
    recompute the forward pass with the original ones.
    """
    named = dict([*net.named_parameters(), *net.named_buffers()])
    new = {id(named[name]): tensor for name, tensor in tensors.items()}
    places = [slots for module in net.modules() for slots in (module._parameters, module._buffers)]
    before = [(slots, key, old) for slots in places for key, old in slots.items() if old is not None and id(old) in new]
    try:
        for slots, key, old in before:
            slots[key] = new[id(old)]
        yield
    finally:
        for slots, key, old in before:
            slots[key] = old


def _words(tensor: Tensor) -> Tensor:
    """The bits of a tensor as int64 if their number allows it: comparing these is ten times as fast as bytes."""
    flat = raw(tensor)
    return flat.view(torch.int64) if flat.numel() % 8 == 0 and flat.storage_offset() % 8 == 0 else flat


def _put_back(current: dict[str, Any], before: dict[str, Any]) -> None:
    if list(current) != list(before) or any(current[name] is not tensor for name, tensor in before.items()):
        current.clear()
        current.update(before)
