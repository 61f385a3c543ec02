"""A fast substitute for random initial weights, for tests of large networks that do not depend on the values."""

import math
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

LARGE = 10_000  # weights; smaller tensors are drawn as usual
BLOCK = torch.rand(2**18 + 3, generator=torch.Generator().manual_seed(0)) * 2 - 1


class DrawnFast(TorchDispatchMode):
    """Fills large tensors with one block of uniform numbers over and over, at the mean and spread asked for."""

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        name, tensor = func.overloadpacket.__name__, args[0] if args else None
        if torch.is_tensor(tensor) and tensor.numel() > LARGE and tensor.is_contiguous() and not tensor.is_meta:
            if name == "uniform_":
                low, high = (*args[1:], 0.0, 1.0)[:2] if len(args) == 3 else (0.0, 1.0)
                return fill_(tensor, (low + high) / 2, (high - low) / 2)
            if name == "normal_":
                mean, std = args[1:] if len(args) == 3 else (0.0, 1.0)
                return fill_(tensor, mean, math.sqrt(3) * std)
            if name == "erfinv_":  # the last step of a truncated normal
                return tensor
        return func(*args, **(kwargs or {}))


def fill_(tensor: torch.Tensor, middle: float, reach: float) -> torch.Tensor:
    block = BLOCK.to(tensor.dtype) * reach + middle
    for part in tensor.view(-1).split(len(block)):
        part.copy_(block[: len(part)])
    return tensor
