"""Initial scores, one per weight. Each takes a weight (for shape and fan-in) and a CPU generator."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

ScoreInit = Callable[[Tensor, torch.Generator], Tensor]


def uniform(weight: Tensor, random: torch.Generator, *, low: float = 0.0, high: float = 1.0) -> Tensor:
    """Uniform between `low` and `high` (Gem-Miner: 0 and 1, arXiv 2202.12002)."""
    return low + (high - low) * torch.rand(weight.shape, generator=random)


def kaiming_uniform(weight: Tensor, random: torch.Generator, *, a: float = math.sqrt(5)) -> Tensor:
    """Uniform within gain * sqrt(3 / fan_in), gain of a leaky ReLU of slope `a` (edge-popup, arXiv 1911.13299)."""
    bound = math.sqrt(2 / (1 + a**2)) * math.sqrt(3 / _fan_in(weight))
    return (2 * torch.rand(weight.shape, generator=random) - 1) * bound


def constant(weight: Tensor, random: torch.Generator, *, value: float = 1.0) -> Tensor:
    """The same score everywhere; which weights start out kept is then a matter of ties."""
    return torch.full(weight.shape, float(value))


def bernoulli(weight: Tensor, random: torch.Generator, *, p: float = 0.5) -> Tensor:
    """1 with probability `p`, else 0."""
    return (torch.rand(weight.shape, generator=random) < p).float()


def beta(weight: Tensor, random: torch.Generator, *, a: float, b: float) -> Tensor:
    """Beta(a, b): bimodal with 0.1, 0.1, skewed to 0 with 1, 5."""
    # torch samples gamma variables only from the global stream
    seed = int(torch.randint(2**62, (1,), generator=random))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return torch.distributions.Beta(a, b).sample(weight.shape)


def by_magnitude(weight: Tensor, random: torch.Generator, *, share: float = 0.5) -> Tensor:
    """1 for the `share` of the layer's weights that are largest in magnitude, 0 for the others (warm starts)."""
    size = weight.detach().abs().cpu()
    return (size > size.flatten().quantile(1 - share)).float()


def above_median(weights: Sequence[Tensor], flags: Sequence[Tensor]) -> list[Tensor]:
    """Scores 1 where |weight| exceeds the median of all weights flagged with 1, over the whole network, else 0."""
    sizes = [weight.detach().abs() for weight in weights]
    active = torch.cat([size[flag.bool()] for size, flag in zip(sizes, flags, strict=True)])
    median = active.median()  # the lower one of two
    return [(size > median).to(size.dtype) for size in sizes]


def _fan_in(weight: Tensor) -> int:
    return weight[0].numel() if weight.dim() > 1 else weight.numel()
