"""The network with absolute weights, as SynFlow scores it, and the gradients of its flow."""

from collections.abc import Container

import torch
from torch import Tensor, nn

from lth.pruning.masks import Masks
from lth.pruning.prunable import batch_norms
from lth.pruning.restore import replaced

_BN = ("eval", "identity", "train")
_IDENTITY = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0}


@torch.no_grad()
def absolute(
    net: nn.Module, masks: Masks, dtype: torch.dtype, bn: str, without: Container[str] = ()
) -> dict[str, Tensor]:
    """The parameters and buffers of `net` by name, with floating-point values replaced by their absolute values.

    Weights are multiplied by their masks first. Integer buffers are copied unchanged.

    dtype: of the floating-point tensors in the result
    bn: `eval` and `train` keep the running statistics, `identity` makes every batch norm the identity
    without: names of parameters and buffers that are left out
    """
    if bn not in _BN:
        raise ValueError(f"bn {bn!r} is not one of {_BN}")
    # not state_dict(): it names a shared weight twice and leaves out buffers that are not saved
    tensors = {n: t for n, t in [*net.named_parameters(), *net.named_buffers()] if n not in without}
    state = {n: _absolute(t, masks.get(n), dtype) if t.is_floating_point() else t.clone() for n, t in tensors.items()}
    if bn == "identity":
        for prefix in batch_norms(net):
            names = {f"{prefix}.{name}": value for name, value in _IDENTITY.items()}
            state |= {n: torch.full_like(state[n], value) for n, value in names.items() if n in state}
    return state


def _absolute(tensor: Tensor, mask: Tensor | None, dtype: torch.dtype) -> Tensor:
    # masked before it is converted: a product of two precisions takes ten times as long
    masked = tensor.clone() if mask is None else tensor * mask
    return masked.to(dtype).abs_()


def flow_gradients(
    net: nn.Module,
    state: dict[str, Tensor],
    weights: dict[str, Tensor],
    image_shape: tuple[int, ...],
    batch_statistics: bool = False,
) -> dict[str, Tensor]:
    """dR/dw of `weights`, with R the sum of the outputs for an image of ones, in the network with tensors `state`.

    image_shape: channels, height, width
    batch_statistics: whether batch norm normalises by the statistics of that one image
    """
    leaves = {name: weight.detach().requires_grad_() for name, weight in weights.items()}
    example = next(iter(leaves.values()))
    ones = torch.ones(1, *image_shape, dtype=example.dtype, device=example.device)
    net.eval()
    for norm in batch_norms(net).values() if batch_statistics else ():
        norm.train()
    with replaced(net, {**state, **leaves}):
        flow = net(ones).sum()
        gradients = torch.autograd.grad(flow, list(leaves.values()), allow_unused=True, materialize_grads=True)
    return dict(zip(leaves, gradients, strict=True))
