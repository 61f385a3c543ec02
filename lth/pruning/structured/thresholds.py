"""Pruners that compare single weights with a threshold. Each measures a tensor once, at the first firing, and has its
masks follow from what it measured: thresholds stay while the weights shrink.

Settings that differ between tensors are given as one number, or as numbers by weight or layer name with an entry
`default`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

Setting = float | Mapping[str, float]


@dataclass(frozen=True)
class Moment:
    """Where in a rule's window a firing is: epochs, the window being [begin, stop) and fired in `every` epochs."""

    epoch: int
    begin: int
    stop: int
    every: int = 1


class Pruner(Protocol):
    """What a rule may have in place of a ranker. returns: whether pruned weights may come back."""

    returns: bool

    def check(self, names: Sequence[str]) -> None:
        """Raise ValueError for settings of weights that the rule does not name."""

    def measure(self, weight: Tensor) -> list[float]:
        """What is remembered of a tensor from the first firing on."""

    def __call__(self, name: str, weight: Tensor, mask: Tensor, measured: list[float], when: Moment) -> Tensor:
        """The new mask (bool)."""


class Threshold:
    """Keep |w| > threshold."""

    returns = False

    def __init__(self, threshold: Setting):
        self.threshold = threshold

    def check(self, names: Sequence[str]) -> None:
        check_names(self.threshold, names)

    def measure(self, weight: Tensor) -> list[float]:
        return []

    def __call__(self, name: str, weight: Tensor, mask: Tensor, measured: list[float], when: Moment) -> Tensor:
        return mask.bool() & (weight.abs() > setting(self.threshold, name))


class Sensitivity:
    """Keep |w| > sensitivity * std of the tensor's weights at the first firing (Han et al. 2015, arXiv 1506.02626)."""

    returns = False

    def __init__(self, sensitivity: Setting):
        self.sensitivity = sensitivity

    def check(self, names: Sequence[str]) -> None:
        check_names(self.sensitivity, names)

    def measure(self, weight: Tensor) -> list[float]:
        return [float(weight.detach().double().std())]

    def __call__(self, name: str, weight: Tensor, mask: Tensor, measured: list[float], when: Moment) -> Tensor:
        return mask.bool() & (weight.abs() > setting(self.sensitivity, name) * measured[0])


class Splicing:
    """Dynamic network surgery: with a = mean |w| + c std |w| at the first firing, weights under low * a go, weights of
    at least high * a come back, the others stay as they are (Guo et al. 2016, arXiv 1608.04493).

    growth: c becomes c * (1 + growth * epochs since the beginning). For modules that train dense weights.
    """

    returns = True

    def __init__(self, c: Setting, low: float = 0.9, high: float = 1.1, growth: float = 0.0):
        if not 0 <= low <= high:
            raise ValueError(f"splicing needs 0 <= low <= high, not low={low}, high={high}")
        self.c, self.low, self.high, self.growth = c, low, high, growth

    def check(self, names: Sequence[str]) -> None:
        check_names(self.c, names)

    def measure(self, weight: Tensor) -> list[float]:
        size = weight.detach().abs().double()
        return [float(size.mean()), float(size.std())]

    def __call__(self, name: str, weight: Tensor, mask: Tensor, measured: list[float], when: Moment) -> Tensor:
        grown = setting(self.c, name) * (1 + self.growth * (when.epoch - when.begin))
        size, a = weight.abs(), measured[0] + grown * measured[1]
        return (mask.bool() & (size >= self.low * a)) | (size >= self.high * a)


class BaiduRNN:
    """Keep |w| over a threshold that rises slowly until epoch `ramp`, `steeper` times as fast after it.

    q: the magnitude that the thresholds aim at, e.g. the 90th percentile of a trained network's (Narang et al. 2017,
    arXiv 1704.05119).
    """

    returns = False

    def __init__(self, q: Setting, ramp: int, steeper: float = 1.5):
        self.q, self.ramp, self.steeper = q, ramp, steeper

    def check(self, names: Sequence[str]) -> None:
        check_names(self.q, names)

    def measure(self, weight: Tensor) -> list[float]:
        return []

    def __call__(self, name: str, weight: Tensor, mask: Tensor, measured: list[float], when: Moment) -> Tensor:
        return mask.bool() & (weight.abs() > self.threshold(setting(self.q, name), when))

    def threshold(self, q: float, when: Moment) -> float:
        """The threshold at a moment. Raises ValueError where the ramp lies outside the window."""
        if not when.begin <= self.ramp <= when.stop:
            raise ValueError(f"ramp={self.ramp} lies outside the window {when.begin} to {when.stop}")
        slope = 2 * q * when.every / (2 * (self.ramp - when.begin) + 3 * (when.stop - self.ramp))
        if when.epoch < self.ramp:
            return slope * (when.epoch - when.begin + 1) / when.every
        up, on = self.ramp - when.begin + 1, when.epoch - self.ramp + 1
        return (slope * up + self.steeper * slope * on) / when.every


def setting(value: Setting, name: str) -> float:
    """The number for the weight `name`: its own, its layer's, or the default."""
    if not isinstance(value, Mapping):
        return value
    for key in (name, name.removesuffix(".weight"), "default"):
        if key in value:
            return value[key]
    raise ValueError(f"there is no entry for {name!r}, and no default, in {dict(value)}")


def check_names(value: Setting, names: Sequence[str]) -> None:
    """Raise ValueError for entries of weights that are not among `names`, and for names without an entry."""
    if isinstance(value, Mapping):
        known = {"default", *names, *(name.removesuffix(".weight") for name in names)}
        unknown = [key for key in value if key not in known]
        if unknown:
            raise ValueError(f"there are settings for {unknown}, which are not among the weights named: {list(names)}")
        for name in names:
            setting(value, name)


@torch.no_grad()
def prune_elements(
    pruner: Pruner, name: str, weight: Tensor, mask: Tensor, measured: list[float], when: Moment, allowed: Tensor
) -> Tensor:
    """The new mask, inside `allowed` and, unless the pruner lets weights return, inside `mask`."""
    new = pruner(name, weight.detach(), mask, measured, when) & allowed.bool()
    return new if pruner.returns else new & mask.bool()
