"""Pruners of single weights by a magnitude threshold.

A pruner measures a weight tensor once, when its rule first fires, and derives all later thresholds from that
measurement, so that they do not fall with the weights that training shrinks.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_Setting = float | Mapping[str, float]  # one number, or numbers by weight or layer name with an entry `default`


@dataclass(frozen=True)
class EpochInWindow:
    """An epoch of a rule's window.

    epoch: the current epoch, from 0
    begin: first epoch of the window
    stop: first epoch after the window
    every: epochs from one pruning to the next
    """

    epoch: int
    begin: int
    stop: int
    every: int = 1


class Pruner(ABC):
    """Computes the mask of a weight tensor from its elements, in place of a ranking of units.

    `returns` says whether pruned weights may come back.
    """

    returns = False

    def __init__(self, setting: _Setting):
        """setting: one number, or numbers by weight or layer name with an entry `default`."""
        self._setting = setting

    def check(self, names: Sequence[str]) -> None:
        """Raise ValueError if the setting names a weight that is not in `names`, or has no value for one of them."""
        if not isinstance(self._setting, Mapping):
            return
        known = {"default", *names, *(name.removesuffix(".weight") for name in names)}
        unknown = [key for key in self._setting if key not in known]
        if unknown:
            raise ValueError(f"there are settings for {unknown}, which are not among the weights named: {list(names)}")
        for name in names:
            self.setting(name)

    def setting(self, name: str) -> float:
        """The setting for the weight `name`: its own, its layer's, or the default. Raises ValueError without any."""
        if not isinstance(self._setting, Mapping):
            return self._setting
        for key in (name, name.removesuffix(".weight"), "default"):
            if key in self._setting:
                return self._setting[key]
        raise ValueError(f"there is no entry for {name!r}, and no default, in {dict(self._setting)}")

    def measure(self, weight: Tensor) -> list[float]:
        """The statistics of a weight tensor to be remembered from the first firing on."""
        return []

    @abstractmethod
    def __call__(self, name: str, weight: Tensor, mask: Tensor, measured: list[float], when: EpochInWindow) -> Tensor:
        """The new mask (bool) of the weight `name`. measured: what `measure` returned at the first firing."""


class Threshold(Pruner):
    """Keep |w| > threshold."""

    def __init__(self, threshold: _Setting):
        super().__init__(threshold)

    def __call__(self, name: str, weight: Tensor, mask: Tensor, measured: list[float], when: EpochInWindow) -> Tensor:
        return mask.bool() & (weight.abs() > self.setting(name))


class Sensitivity(Pruner):
    """Keep |w| > sensitivity * s, with s = std(w) at the rule's first firing (Han et al. 2015, arXiv 1506.02626)."""

    def __init__(self, sensitivity: _Setting):
        super().__init__(sensitivity)

    def measure(self, weight: Tensor) -> list[float]:
        return [float(weight.detach().double().std())]

    def __call__(self, name: str, weight: Tensor, mask: Tensor, measured: list[float], when: EpochInWindow) -> Tensor:
        return mask.bool() & (weight.abs() > self.setting(name) * measured[0])


class Splicing(Pruner):
    """Dynamic network surgery (Guo et al. 2016, arXiv 1608.04493).

    With a = mean |w| + c std |w|, measured when the rule first acts, weights under low * a are pruned, weights of at
    least high * a come back, and the others stay as they are. Needs a module that trains dense weights
    (`SplicedWeights`). Raises ValueError unless 0 <= low <= high.

    c: number of standard deviations over the mean; one number, or numbers by weight or layer name
    low: weights below low * a are pruned
    high: weights of at least high * a come back
    growth: relative growth of c per epoch: c * (1 + growth * epochs since the window began)
    """

    returns = True

    def __init__(self, c: _Setting, low: float = 0.9, high: float = 1.1, growth: float = 0.0):
        super().__init__(c)
        if not 0 <= low <= high:
            raise ValueError(f"splicing needs 0 <= low <= high, not low={low}, high={high}")
        self.low, self.high, self.growth = low, high, growth

    def measure(self, weight: Tensor) -> list[float]:
        size = weight.detach().abs().double()
        return [float(size.mean()), float(size.std())]

    def __call__(self, name: str, weight: Tensor, mask: Tensor, measured: list[float], when: EpochInWindow) -> Tensor:
        c = self.setting(name) * (1 + self.growth * (when.epoch - when.begin))
        size, a = weight.abs(), measured[0] + c * measured[1]
        return (mask.bool() & (size >= self.low * a)) | (size >= self.high * a)


class BaiduRNN(Pruner):
    """Keep weights over a threshold that rises piecewise linearly, with two slopes (Narang et al. 2017, 1704.05119).

    q: magnitude that the slope is computed from, e.g. the 90th percentile of |w| in a trained network
    ramp: epoch from which on the threshold rises `steeper` times as fast
    steeper: ratio of the second slope to the first
    """

    def __init__(self, q: _Setting, ramp: int, steeper: float = 1.5):
        super().__init__(q)
        self.ramp, self.steeper = ramp, steeper

    def __call__(self, name: str, weight: Tensor, mask: Tensor, measured: list[float], when: EpochInWindow) -> Tensor:
        return mask.bool() & (weight.abs() > self.threshold(self.setting(name), when))

    def threshold(self, q: float, when: EpochInWindow) -> float:
        """The threshold at an epoch. Raises ValueError where the ramp lies outside the window."""
        if not when.begin <= self.ramp <= when.stop:
            raise ValueError(f"ramp={self.ramp} lies outside the window {when.begin} to {when.stop}")
        slope = 2 * q * when.every / (2 * (self.ramp - when.begin) + 3 * (when.stop - self.ramp))
        if when.epoch < self.ramp:
            return slope * (when.epoch - when.begin + 1) / when.every
        before, after = self.ramp - when.begin + 1, when.epoch - self.ramp + 1
        return (slope * before + self.steeper * slope * after) / when.every


@torch.no_grad()
def prune_elements(
    pruner: Pruner,
    name: str,
    weight: Tensor,
    mask: Tensor,
    measured: list[float],
    when: EpochInWindow,
    allowed: Tensor,
) -> Tensor:
    """The new mask (bool) of the weight `name`.

    It lies inside `allowed` (0/1, the support) and, unless the pruner lets weights come back, inside `mask`.
    """
    new = pruner(name, weight.detach(), mask, measured, when) & allowed.bool()
    return new if pruner.returns else new & mask.bool()
