"""Initial weights together with biases, for searches that never train them (arXiv 2210.02412).

A layer's standard deviation is sqrt(2 / fan_in). If a density is given, it is divided by sqrt(density), for the fan-in
of the weights a search will keep. Only `looks_linear` weights also depend on the density of a support.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from lth.pruning.allocation import check_density
from lth.pruning.initial_weights.looks_linear import looks_linear
from lth.pruning.masks import Masks
from lth.pruning.prunable import bias_name
from lth.pruning.seeds import generator

_Draw = Callable[[torch.Size, torch.Generator], Tensor]
_WEIGHTS = ("normal", "signed_constant", "looks_linear")
_BIASES = ("zero", "normal", "uniform", "unscaled", "constant", "carried")


@torch.no_grad()
def draw_with_biases(
    net: nn.Module,
    masks: Masks,
    seed: int = 0,
    *,
    weights: str = "normal",
    biases: str = "zero",
    share: float = 0.05,
    density: float | None = None,
) -> None:
    """Draw the prunable weights and the biases of their layers.

      weights: `normal` = N(0, std^2); `signed_constant` = +std or -std; `looks_linear` = mirrored orthogonal
      biases: with p the product of the standard deviations up to the layer,
        `zero`; `normal` = N(0, (share p)^2); `uniform` = within share p; `unscaled` = uniform within 1 / sqrt(fan_in);
        `constant` = +std or -std; `carried` = as `normal`, but in every second layer W b / sqrt(kernel size), with b
        the biases of the layer before and W the layer's weights summed over the kernel
      share: factor of the `normal`, `uniform` and `carried` biases
      density: fraction of weights that the search will keep; None = 1
    Raises ValueError for other values, and for `carried` if a layer's inputs are not the outputs of the one before.
    """
    _refuse_unknown("weights", weights, _WEIGHTS)
    _refuse_unknown("biases", biases, _BIASES)
    root = math.sqrt(check_density(density)) if density is not None else 1.0
    if weights == "looks_linear":
        looks_linear(net, masks, seed)
    parameters, product, before = dict(net.named_parameters()), 1.0, None
    for place, (name, weight) in enumerate(zip(masks, masks.weights(net), strict=True)):
        fan_in = weight[0].numel()
        std = math.sqrt(2 / fan_in) / root
        product *= std
        if weights == "looks_linear":
            weight.div_(root)
        else:
            of_weights = _signs if weights == "signed_constant" else _normal
            weight.copy_(std * of_weights(weight.shape, generator("weights", seed, name)))
        bias = parameters.get(bias_name(name))
        if bias is None:
            continue
        random = generator("biases", seed, name)
        if biases == "carried" and place % 2 == 1:
            bias.copy_(_carried(weight, before, name))
        else:
            scale, draw = _biases(biases, share * product, std, fan_in)
            bias.copy_(scale * draw(bias.shape, random))
        before = bias.detach()


def _biases(kind: str, spread: float, std: float, fan_in: int) -> tuple[float, _Draw]:
    """The scale of the biases, and the function that draws them at scale 1."""
    scale = {"zero": 0.0, "constant": std, "unscaled": 1 / math.sqrt(fan_in)}.get(kind, spread)
    return scale, {"normal": _normal, "carried": _normal, "zero": _signs, "constant": _signs}.get(kind, _uniform)


def _normal(shape: torch.Size, random: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=random)


def _uniform(shape: torch.Size, random: torch.Generator) -> Tensor:
    return 2 * torch.rand(shape, generator=random) - 1


def _signs(shape: torch.Size, random: torch.Generator) -> Tensor:
    return 2.0 * torch.randint(0, 2, shape, generator=random) - 1


def _carried(weight: Tensor, before: Tensor | None, name: str) -> Tensor:
    kernel = weight[0, 0].numel()
    if before is None or len(before) != weight.shape[1]:
        raise ValueError(f"biases=carried: the inputs of {name} are not the outputs of a layer with a bias before it")
    return weight.flatten(2).sum(2) @ before / math.sqrt(kernel) if weight.dim() > 2 else weight @ before


def _refuse_unknown(key: str, value: str, valid: tuple[str, ...]) -> None:
    if value not in valid:
        raise ValueError(f"method.weights.{key}={value!r} is not one of {valid}")
