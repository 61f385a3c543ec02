"""STR: soft thresholding with learned thresholds (Kusupati et al., ICML 2020, arXiv 2002.03231)."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

# Values of the option `link`: threshold = LINKS[link](s), where s is learned.
LINKS: dict[str, Callable[[Tensor], Tensor]] = {"sigmoid": torch.sigmoid, "exp": torch.exp}


def soft_threshold(weight: Tensor, threshold: Tensor) -> Tensor:
    """sign(w) * relu(|w| - threshold); the threshold broadcasts over the weight.

    A weight of exactly zero has zero gradient, so that weights outside a support stay zero without a mask.
    """
    return torch.sign(weight) * torch.relu(weight.abs() - threshold)


def shift_of_thresholds(weights: Sequence[Tensor], s: Tensor, link: str, kept: int, tolerance: float = 1e-4) -> float:
    """The number to add to every entry of `s` so that `kept` weights exceed their thresholds, by bisection.

    weights: one tensor per layer
    s: one entry per layer, or one for all layers
    link: a key of `LINKS`
    kept: number of weights
    tolerance: relative to `kept`, at which the search stops
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


def epoch_of_threshold(
    start: float,
    decay: float,
    momentum: float,
    rates: Callable[[int], float],
    steps: int,
    epoch: int,
    reach: float = 1e-3,
) -> int | None:
    """The epoch, from 0, in which weight decay alone lifts sigmoid(s) over `reach`; None if it never does.

    In float32 sigmoid(s) and its gradient are exactly 0 below about -104. There only weight decay moves s, by
    v <- momentum v + decay s, s <- s - lr v.
      start: first value of s
      decay: weight decay of s
      momentum: momentum of SGD
      rates: optimizer step -> learning rate
      steps: optimizer steps of the level
      epoch: optimizer steps per epoch
      reach: value that sigmoid(s) has to exceed
    """
    s, velocity = start, 0.0
    for step in range(steps):
        velocity = momentum * velocity + decay * s
        s -= rates(step) * velocity
        if s > -700 and 1 / (1 + math.exp(-s)) > reach:
            return step // epoch
    return None
