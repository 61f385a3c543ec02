"""The largest eigenvalue of a loss's Hessian, by power iteration on Hessian-vector products."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp
from torch.nn.functional import cross_entropy

Vector = dict[str, Tensor]  # parameter name -> one entry a parameter


def top_eigenvalue(
    net: nn.Module,
    masks: Mapping[str, Tensor],
    batches: Sequence[tuple[Tensor, Tensor]],
    iterations: int = 100,
    seed: int = 0,
) -> tuple[float, float]:
    """The largest eigenvalue of the Hessian of the mean cross-entropy, and |Hv - lv| / |l| for the vector v found.

    Over the kept weights and all parameters that masks do not cover; pruned weights stay zero. batches: images and
    labels, where the network is. The network computes in evaluation mode and comes back as it was. Power iteration
    finds what is largest in absolute value; where that is negative, it goes on with the spectrum shifted by it.
    """
    kept = {name: p.detach() * masks[name] if name in masks else p.detach() for name, p in net.named_parameters()}
    modes = [(module, module.training) for module in net.modules()]
    net.eval()
    try:
        product = hessian_vector(net, kept, batches)
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


def hessian_vector(net: nn.Module, at: Vector, batches: Sequence[tuple[Tensor, Tensor]]) -> Callable[[Vector], Vector]:
    """v -> Hv, with H the Hessian of the mean cross-entropy of `net` at the parameters `at`."""
    count = sum(len(labels) for _, labels in batches)

    def product(vector: Vector) -> Vector:
        total = {name: torch.zeros_like(value) for name, value in at.items()}
        for x, labels in batches:

            def loss(point: Vector, x: Tensor = x, labels: Tensor = labels) -> Tensor:
                return cross_entropy(functional_call(net, point, (x,)), labels, reduction="sum") / count

            _, part = jvp(grad(loss), (at,), (vector,))
            total = _added(total, part, 1.0)
        return total

    return product


def _power(product: Callable[[Vector], Vector], v: Vector, iterations: int) -> tuple[float, float]:
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


def _random(like: Vector, masks: Mapping[str, Tensor], seed: int) -> Vector:
    source = torch.Generator().manual_seed(seed)
    drawn = {n: torch.randn(p.shape, generator=source, dtype=p.dtype).to(p.device) for n, p in like.items()}
    drawn = _masked(drawn, masks)
    length = float(_dot(drawn, drawn)) ** 0.5
    return {name: part / length for name, part in drawn.items()}


def _masked(v: Vector, masks: Mapping[str, Tensor]) -> Vector:
    return {name: part * masks[name] if name in masks else part for name, part in v.items()}


def _added(a: Vector, b: Vector, factor: float) -> Vector:
    return {name: part + factor * b[name] for name, part in a.items()}


def _dot(a: Vector, b: Vector) -> Tensor:
    return torch.stack([(part * b[name]).sum() for name, part in a.items()]).sum()
