"""Training under a mask in plain loops: lth's way, torch.nn.utils.prune, and weight * mask in forward."""

from collections.abc import Iterator
from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.prune import custom_from_mask

from benchmarks.cases import CASES, UNPRUNED, Case, timed_level
from benchmarks.interleave import Arm, Comparison
from benchmarks.level import PlainStep, TimedLevel
from benchmarks.ops import ops_of
from benchmarks.setting import Setting
from lth.modules import Recipe
from lth.pruning import Masks, allocation, criteria, prune
from lth.pruning.masks import zero_

DENSITY = 0.1


class KeptWeightsStep(PlainStep):
    """lth's way: pruned weights are zero; one fused call multiplies all gradients by the masks, another all weights."""

    def __init__(self, net: nn.Module, masks: Masks, recipe: Recipe):
        super().__init__(net, masks, recipe)
        self.weights = masks.weights(net)
        masks.apply_(net)

    def __call__(self, x: Tensor, labels: Tensor) -> None:
        self.optimizer.zero_grad()
        self.loss(x, labels).backward()
        zero_([weight.grad for weight in self.weights], list(self.masks.values()))
        self.optimizer.step()
        zero_(self.weights, list(self.masks.values()))


class TorchPruneStep(PlainStep):
    """torch.nn.utils.prune: a hook of every layer computes weight_orig * weight_mask before every forward."""

    def __init__(self, net: nn.Module, masks: Masks, recipe: Recipe):
        for layer, mask in layers(net, masks):
            custom_from_mask(layer, "weight", mask)
        super().__init__(net, masks, recipe)


class InForwardStep(PlainStep):
    """Subclassed layers that compute weight * mask in forward, as in many research codes."""

    def __init__(self, net: nn.Module, masks: Masks, recipe: Recipe):
        for layer, mask in layers(net, masks):
            layer.__class__ = MASKED[type(layer)]
            layer.register_buffer("mask", mask)
        super().__init__(net, masks, recipe)


class MaskedConv2d(nn.Conv2d):
    """A convolution with weight * mask."""

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, self.weight * self.mask, self.bias)


class MaskedLinear(nn.Linear):
    """A linear layer with weight * mask."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.mask, self.bias)


MASKED = {nn.Conv2d: MaskedConv2d, nn.Linear: MaskedLinear}
WAYS = {
    "lth: kept weights": KeptWeightsStep,
    "torch.nn.utils.prune": TorchPruneStep,
    "weight * mask in forward": InForwardStep,
    "no masks": PlainStep,
}


def comparisons(setting: Setting) -> Iterator[Comparison]:
    """Every way of masking at density 0.1, and the same loop without masks."""
    for case in CASES:
        yield from compare(case, setting)


def compare(case: Case, setting: Setting) -> Iterator[Comparison]:
    """The comparison of one network; its temporary folder lasts until the next."""
    with timed_level(case, setting, *UNPRUNED) as level:
        masks = random_masks(level)
        arms = [
            Arm(name, partial(level.by_hand, way, masks), level.images, ops_per_step(level, way, masks))
            for name, way in WAYS.items()
        ]
        yield Comparison(case.title, arms, "images/s")


def random_masks(level: TimedLevel) -> Masks:
    """Random masks of density 0.1."""
    net = level.fresh()
    return prune(net, Masks.ones(net), DENSITY, partial(criteria.random, seed=0), allocation.global_)


def ops_per_step(level: TimedLevel, way: type[PlainStep], masks: Masks) -> int:
    """Dispatched operations of one step of `way`."""
    step = way(level.fresh(), masks, level.recipe)
    x, labels = next(iter(level.loader()))
    return ops_of(lambda: step(x, labels))


def layers(net: nn.Module, masks: Masks) -> Iterator[tuple[nn.Module, Tensor]]:
    """(layer, mask) of every masked layer."""
    return ((net.get_submodule(name.removesuffix(".weight")), mask) for name, mask in masks.items())
