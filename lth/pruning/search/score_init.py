"""Initial scores. Each function takes a weight, for its shape and fan-in, and a CPU generator."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

ScoreInit = Callable[[Tensor, torch.Generator], Tensor]


def uniform(weight: Tensor, random: torch.Generator, *, low: float = 0.0, high: float = 1.0) -> Tensor:
    """Uniform between `low` and `high` (Gem-Miner: 0 and 1, arXiv 2202.12002)."""
    return low + (high - low) * torch.rand(weight.shape, generator=random)


def kaiming_uniform(
    weight: Tensor, random: torch.Generator, *, a: float = math.sqrt(5), convolutions: float | None = None
) -> Tensor:
    """Uniform within gain * sqrt(3 / fan_in), gain of a leaky ReLU of slope `a` (edge-popup, arXiv 1911.13299).

    convolutions: constant score of convolution weights (0.5 in the code of arXiv 2210.02412); None = drawn too
    """
    if convolutions is not None and weight.dim() > 2:
        return torch.full(weight.shape, float(convolutions))
    bound = math.sqrt(2 / (1 + a**2)) * math.sqrt(3 / _fan_in(weight))
    return (2 * torch.rand(weight.shape, generator=random) - 1) * bound


def constant(weight: Tensor, random: torch.Generator, *, value: float = 1.0) -> Tensor:
    """The same score everywhere; the rule's order of ties then decides which weights are chosen at first."""
    return torch.full(weight.shape, float(value))


def bernoulli(weight: Tensor, random: torch.Generator, *, p: float = 0.5) -> Tensor:
    """1 with probability `p`, else 0."""
    return (torch.rand(weight.shape, generator=random) < p).float()


def beta(weight: Tensor, random: torch.Generator, *, a: float, b: float) -> Tensor:
    """Beta(a, b) distributed: a = b = 0.1 is bimodal, a = 1, b = 5 is skewed to 0."""
    # torch draws beta variables from the global generator only
    seed = int(torch.randint(2**62, (1,), generator=random))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return torch.distributions.Beta(a, b).sample(weight.shape)


def by_magnitude(weight: Tensor, random: torch.Generator, *, share: float = 0.5) -> Tensor:
    """1 for the fraction `share` of the layer's weights that is largest in magnitude, else 0 (warm starts)."""
    size = weight.detach().abs().cpu()
    rank = int((1 - share) * (size.numel() - 1)) + 1  # torch.quantile refuses tensors of over 16 million elements
    return (size > size.flatten().kthvalue(rank).values).float()


def _fan_in(weight: Tensor) -> int:
    return weight[0].numel() if weight.dim() > 1 else weight.numel()
