"""Edge-popup at density 0.1 in plain loops: the search of lth, and layers that own their scores."""

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from benchmarks.cases import CASES, UNPRUNED, Case, timed_level
from benchmarks.comparisons.alternatives import layers, ops_per_step
from benchmarks.interleave import Arm, Comparison
from benchmarks.level import PlainStep
from benchmarks.setting import Setting
from lth.modules import Recipe
from lth.pruning import Masks
from lth.pruning.search._selection import Selection
from lth.pruning.search._straight_through import straight_through
from lth.pruning.search.mask_rules import Largest

DENSITY = 0.1


class SearchStep(PlainStep):
    """lth's way: masks of all layers are made together, and `functional_call` runs the plain network."""

    def __init__(self, net: nn.Module, masks: Masks, recipe: Recipe):
        self.weights = [weight.detach().clone() for weight in masks.weights(net)]
        self.scores = nn.ParameterList([kaiming_uniform(weight) for weight in self.weights])
        self.rule, self.selection = Largest(), Selection(list(self.scores))
        super().__init__(net, masks, recipe)
        net.requires_grad_(False)
        self.optimizer = recipe.optimizer([{"params": list(self.scores), "weight_decay": 0.0}], lr=recipe.lr)
        self.plain, self.net = net, self.masked

    def masked(self, x: Tensor) -> Tensor:
        """The logits of the network with the selected weights."""
        scores = list(self.scores)
        used = straight_through(scores, self.selection(self.rule, DENSITY), self.weights, signed=True)
        return functional_call(self.plain, dict(zip(self.masks, used, strict=True)), (x,))


class LayersStep(PlainStep):
    """Subclassed layers that own scores and sort them in every forward, as the published code does."""

    def __init__(self, net: nn.Module, masks: Masks, recipe: Recipe):
        net.requires_grad_(False)
        scores = []
        for layer, _ in layers(net, masks):
            layer.__class__ = POPUP[type(layer)]
            layer.scores = kaiming_uniform(layer.weight)
            scores.append(layer.scores)
        super().__init__(net, masks, recipe)
        self.optimizer = recipe.optimizer([{"params": scores, "weight_decay": 0.0}], lr=recipe.lr)


class Subnet(torch.autograd.Function):
    """1 for the largest scores of a layer, else 0; straight-through gradient."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, density: float) -> Tensor:
        mask = scores.clone()
        order = scores.flatten().sort().indices
        left_out = int((1 - density) * scores.numel())
        flat = mask.flatten()
        flat[order[:left_out]] = 0
        flat[order[left_out:]] = 1
        return flat.view(mask.shape)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


class PopupConv2d(nn.Conv2d):
    """A convolution with the weights of the largest |score|."""

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, self.weight * Subnet.apply(self.scores.abs(), DENSITY), self.bias)


class PopupLinear(nn.Linear):
    """A linear layer with the weights of the largest |score|."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * Subnet.apply(self.scores.abs(), DENSITY), self.bias)


POPUP = {nn.Conv2d: PopupConv2d, nn.Linear: PopupLinear}
WAYS = {"lth: search": SearchStep, "layers with scores": LayersStep, "dense, no search": PlainStep}


def kaiming_uniform(weight: Tensor) -> nn.Parameter:
    """Initial scores as in edge-popup."""
    scores = torch.empty_like(weight)
    nn.init.kaiming_uniform_(scores, a=math.sqrt(5))
    return nn.Parameter(scores)


def comparisons(setting: Setting) -> Iterator[Comparison]:
    """A step of edge-popup in both implementations, and a dense step."""
    for case in CASES:
        yield from compare(case, setting)


def compare(case: Case, setting: Setting) -> Iterator[Comparison]:
    """The comparison of one network; its temporary folder lasts until the next."""
    with timed_level(case, setting, *UNPRUNED) as level:
        masks = Masks.ones(level.fresh())
        arms = [
            Arm(name, partial(level.by_hand, way, masks), level.images, ops_per_step(level, way, masks))
            for name, way in WAYS.items()
        ]
        yield Comparison(f"edge-popup, {case.title}", arms, "images/s")
