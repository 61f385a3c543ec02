"""The small dense control: the same depth, fewer channels, as many weights as the ticket (arXiv 2107.00166)."""

from collections.abc import Callable, Mapping, Sequence
from itertools import product

import torch
from torch import Tensor, nn

LARGEST_SEARCH = 3000  # networks built on the meta device, about 5 ms each
Build = Callable[[Sequence[int]], nn.Module]


def nonzeros(masks: Mapping[str, Tensor], net: nn.Module) -> int:
    """Parameters of `net` that are not pruned: kept weights, and everything no mask covers (biases, batch norm)."""
    kept = sum(int(torch.count_nonzero(mask)) for mask in masks.values())
    return kept + parameters(net) - sum(mask.numel() for mask in masks.values())


def parameters(net: nn.Module) -> int:
    """Number of parameters; a shared one counts once."""
    return sum(p.numel() for p in net.parameters())


def solve_widths(build: Build, widths: Sequence[int], target: int, tolerance: float = 0.01) -> list[int]:
    """Widths, near one multiple of `widths`, whose network has `target` parameters to within `tolerance`.

    build: a function of the widths that makes the network (on the meta device: nothing is allocated or drawn). Raises
    ValueError with the nearest count where no widths come that near.
    """
    seen: dict[tuple[int, ...], int] = {}

    def count(candidate: Sequence[int]) -> int:
        key = tuple(candidate)
        if key not in seen:
            with torch.device("meta"):
                seen[key] = parameters(build(list(key)))
        return seen[key]

    best = _refine(_scale(widths, target, count), target, tolerance, count)
    if abs(count(best) - target) > tolerance * target:
        best = _one_alone(best, target, count)
    if abs(count(best) - target) > tolerance * target:
        raise ValueError(
            f"no widths like {list(widths)} make a dense net of {target} parameters to within {tolerance:.0%}; "
            f"the nearest, {best}, has {count(best)}"
        )
    return best


def _scale(widths: Sequence[int], target: int, count: Callable[[Sequence[int]], int]) -> list[int]:
    """The multiple of `widths` whose count is nearest to the target, by bisection: counts grow with the widths."""
    low, high = 0.0, 1.0
    while count(_times(widths, high)) < target:
        high *= 2
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if count(_times(widths, middle)) < target else (low, middle)
    return min((_times(widths, low), _times(widths, high)), key=lambda w: abs(count(w) - target))


def _times(widths: Sequence[int], scale: float) -> list[int]:
    return [max(1, round(width * scale)) for width in widths]


def _refine(start: list[int], target: int, tolerance: float, count: Callable[[Sequence[int]], int]) -> list[int]:
    """The first widths around `start` that come near enough, smallest changes first; else the nearest tried."""
    best = start
    for radius in range(1, 5):
        if abs(count(best) - target) <= tolerance * target or (2 * radius + 1) ** len(start) > LARGEST_SEARCH:
            break
        moves = sorted(product(range(-radius, radius + 1), repeat=len(start)), key=lambda m: sum(map(abs, m)))
        for move in moves:
            near = [max(1, width + change) for width, change in zip(start, move, strict=True)]
            best = min(best, near, key=lambda w: abs(count(w) - target))
            if abs(count(best) - target) <= tolerance * target:
                break
    return best


def _one_alone(start: list[int], target: int, count: Callable[[Sequence[int]], int]) -> list[int]:
    """The nearest that changing one width of `start`, however far, can come: for steps of another too wide to share."""
    tried = [start]
    for index in range(len(start)):

        def with_width(width: int, index: int = index) -> list[int]:
            return [*start[:index], width, *start[index + 1 :]]

        low, high = 1, max(2, 2 * start[index])
        while count(with_width(high)) < target:
            high *= 2
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if count(with_width(middle)) < target else (low, middle)
        tried += [with_width(low), with_width(high)]
    return min(tried, key=lambda w: abs(count(w) - target))


def small_dense(build: Build, widths: Sequence[int] | None, target: int, tolerance: float = 0.01) -> nn.Module:
    """The network of `build` with widths solved for `target` parameters. Raises ValueError where it has no widths."""
    if widths is None:
        raise ValueError("the small dense control needs a network with widths (model=mlp, a ResNet): leave out sdt")
    return build(solve_widths(build, widths, target, tolerance))
