"""The small dense control: the network with fewer channels and as many parameters as the ticket (arXiv 2107.00166)."""

from collections.abc import Callable, Sequence
from itertools import product

import torch
from torch import nn

_MAX_CANDIDATES = 3000  # widths tried at one distance; each builds a network on the meta device, about 5 ms
_Build = Callable[[Sequence[int]], nn.Module]


def _solve_widths(build: _Build, widths: Sequence[int], target: int, tolerance: float = 0.01) -> list[int]:
    """Widths, roughly in the proportions of `widths`, whose network has about `target` parameters.

    build: makes the network from its widths; called on the meta device, so that nothing is allocated or drawn
    target: number of parameters, biases and batch norm included
    tolerance: largest relative difference from `target`

    Raises ValueError with the nearest count if no widths are within the tolerance.
    """
    seen: dict[tuple[int, ...], int] = {}

    def count(candidate: Sequence[int]) -> int:
        key = tuple(candidate)
        if key not in seen:
            with torch.device("meta"):
                seen[key] = sum(p.numel() for p in build(list(key)).parameters())
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
    """The multiple of `widths` with the nearest parameter count, by bisection: the count grows with the widths."""
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
    """Widths around `start`, nearest first, until one is within the tolerance; else the best of those tried."""
    best = start
    for radius in range(1, 5):
        if abs(count(best) - target) <= tolerance * target or (2 * radius + 1) ** len(start) > _MAX_CANDIDATES:
            break
        moves = sorted(product(range(-radius, radius + 1), repeat=len(start)), key=lambda m: sum(map(abs, m)))
        for move in moves:
            near = [max(1, width + change) for width, change in zip(start, move, strict=True)]
            best = min(best, near, key=lambda w: abs(count(w) - target))
            if abs(count(best) - target) <= tolerance * target:
                break
    return best


def _one_alone(start: list[int], target: int, count: Callable[[Sequence[int]], int]) -> list[int]:
    """The best fit when only one width of `start` changes: one unit of a wide layer may exceed the tolerance."""
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


def small_dense(build: _Build, widths: Sequence[int] | None, target: int, tolerance: float = 0.01) -> nn.Module:
    """The small dense network.

    build: makes the network from its widths
    widths: widths of the ticket's network; None, for a network without widths, raises ValueError
    target: number of parameters of the ticket: kept weights, biases and batch norm
    tolerance: largest relative difference from `target`
    """
    if widths is None:
        raise ValueError("the small dense control needs a network with widths (model=mlp, a ResNet): leave out sdt")
    return build(_solve_widths(build, widths, target, tolerance))
