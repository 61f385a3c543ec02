"""STR: weights shrunk by a learned threshold per layer (Kusupati et al., ICML 2020, arXiv 2002.03231)."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

LINKS: dict[str, Callable[[Tensor], Tensor]] = {"sigmoid": torch.sigmoid, "exp": torch.exp}


def shrunk(weight: Tensor, threshold: Tensor) -> Tensor:
    """sign(w) * relu(|w| - threshold), for a threshold that broadcasts over the weight.

    Gradient: 1 for weights over the threshold and -sum of sign(w) * gradient for the threshold itself. A weight that is
    exactly zero stays zero and gets none, so that a support needs no mask.
    """
    return torch.sign(weight) * torch.relu(weight.abs() - threshold)


def offset(weights: Sequence[Tensor], s: Tensor, link: str, kept: int, tolerance: float = 1e-4) -> float:
    """What to add to every entry of `s` so that `kept` weights lie over their thresholds, by bisection.

    s: one entry a weight tensor, or one for all. Stops when the count is within `tolerance` of `kept`.
    """
    sizes = [w.detach().abs().flatten() for w in weights]
    levels = s.detach().expand(len(sizes)) if s.numel() == 1 else s.detach()

    def count(shift: float) -> int:
        thresholds = LINKS[link](levels + shift)
        return sum(int(torch.count_nonzero(size > t)) for size, t in zip(sizes, thresholds, strict=True))

    low, high = -200.0 - float(levels.max()), 200.0 - float(levels.min())
    for _ in range(60):
        middle = (low + high) / 2
        found = count(middle)
        if abs(found - kept) <= tolerance * kept:
            return middle
        low, high = (middle, high) if found > kept else (low, middle)
    return (low + high) / 2


def epochs_to_threshold(
    start: float,
    decay: float,
    momentum: float,
    rates: Callable[[int], float],
    steps: int,
    epoch: int,
    reach: float = 1e-3,
) -> int | None:
    """Zero-based epoch in which weight decay alone lifts sigmoid(s) over `reach`; None when it never does.

    In float32 sigmoid(s) and its gradient are exactly 0 below about -104, so that there only weight decay moves s:
    v <- momentum v + decay s, s <- s - lr v. rates: optimizer step -> learning rate; steps: of the level.
    """
    s, velocity = start, 0.0
    for step in range(steps):
        velocity = momentum * velocity + decay * s
        s -= rates(step) * velocity
        if s > -700 and 1 / (1 + math.exp(-s)) > reach:
            return step // epoch
    return None
