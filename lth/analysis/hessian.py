"""The largest eigenvalue of a loss's Hessian, by power iteration on Hessian-vector products."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp
from torch.nn.functional import cross_entropy

_Vector = dict[str, Tensor]  # parameter name -> tensor of its shape


def top_eigenvalue(
    net: nn.Module,
    masks: Mapping[str, Tensor],
    batches: Sequence[tuple[Tensor, Tensor]],
    iterations: int = 100,
    seed: int = 0,
) -> tuple[float, float]:
    """The largest eigenvalue l of the Hessian H of the mean cross-entropy, and the residual |Hv - l v| / |l|.

    H is over the kept weights and all parameters that masks do not cover; pruned weights stay zero. The network
    computes in evaluation mode; its modes are restored. Power iteration finds the eigenvalue of largest absolute value;
    if it is negative, a second run on the spectrum shifted by it finds the largest one.

    batches: images and labels, on the network's device
    iterations: Hessian-vector products per run of the power iteration
    seed: seed of the first vector
    """
    kept = _masked({name: p.detach() for name, p in net.named_parameters()}, masks)
    modes = [(module, module.training) for module in net.modules()]
    net.eval()
    try:
        product = _hessian_vector(net, kept, batches)
        start = _random(kept, masks, seed)
        value, residual = _power(lambda v: _masked(product(v), masks), start, iterations)
        if value < 0:
            low = value
            shifted, residual = _power(lambda v: _added(_masked(product(v), masks), v, -low), start, iterations)
            value = shifted + low
            residual = residual * abs(shifted / value) if value else residual
    finally:
        for module, training in modes:
            module.training = training
    return value, residual


def _hessian_vector(
    net: nn.Module, at: _Vector, batches: Sequence[tuple[Tensor, Tensor]]
) -> Callable[[_Vector], _Vector]:
    """The function v -> Hv, with H the Hessian of the mean cross-entropy of `net` at the parameters `at`."""
    count = sum(len(labels) for _, labels in batches)

    def product(vector: _Vector) -> _Vector:
        total = {name: torch.zeros_like(value) for name, value in at.items()}
        for x, labels in batches:

            def loss(point: _Vector, x: Tensor = x, labels: Tensor = labels) -> Tensor:
                return cross_entropy(functional_call(net, point, (x,)), labels, reduction="sum") / count

            _, part = jvp(grad(loss), (at,), (vector,))
            total = _added(total, part, 1.0)
        return total

    return product


def _power(product: Callable[[_Vector], _Vector], v: _Vector, iterations: int) -> tuple[float, float]:
    """The eigenvalue of largest absolute value and its residual, from the unit vector `v`."""
    value = residual = 0.0
    for _ in range(iterations):
        image = product(v)
        value = float(_dot(v, image))
        length = float(_dot(image, image)) ** 0.5
        residual = float(_dot(*[_added(image, v, -value)] * 2)) ** 0.5 / abs(value) if value else 0.0
        if not length:
            break
        v = {name: part / length for name, part in image.items()}
    return value, residual


def _random(like: _Vector, masks: Mapping[str, Tensor], seed: int) -> _Vector:
    """A unit vector, zero at pruned weights; drawn on the CPU, so that it is the same on every device."""
    source = torch.Generator().manual_seed(seed)
    drawn = {n: torch.randn(p.shape, generator=source, dtype=p.dtype).to(p.device) for n, p in like.items()}
    drawn = _masked(drawn, masks)
    length = float(_dot(drawn, drawn)) ** 0.5
    return {name: part / length for name, part in drawn.items()}


def _masked(v: _Vector, masks: Mapping[str, Tensor]) -> _Vector:
    return {name: part * masks[name] if name in masks else part for name, part in v.items()}


def _added(a: _Vector, b: _Vector, factor: float) -> _Vector:
    return {name: part + factor * b[name] for name, part in a.items()}


def _dot(a: _Vector, b: _Vector) -> Tensor:
    return torch.stack([(part * b[name]).sum() for name, part in a.items()]).sum()
