"""The weights that masks may cover: those of every layer that multiplies by a matrix, restricted by name patterns."""

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvTransposeNd
from torch.nn.utils.parametrizations import _SpectralNorm
from torch.nn.utils.spectral_norm import SpectralNorm

LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
_OTHER_LAYERS = (_ConvTransposeNd, nn.Bilinear)  # they have one weight too
_RECURRENT = (nn.RNNBase, nn.RNNCellBase)
_OF_RECURRENT = re.compile(r"weight_(ih|hh|hr)(_l\d+)?(_reverse)?")
_PROJECTIONS = (
    "in_proj_weight",
    "q_proj_weight",
    "k_proj_weight",
    "v_proj_weight",
)  # None if unused
_NAMED = ("@first", "@head", "@body", "@shortcuts")  # patterns that are not globs


def prunable(net: nn.Module, include: Sequence[str] = ("*",), exclude: Sequence[str] = ()) -> dict[str, nn.Parameter]:
    """The weights that masks may cover, by parameter name, in registration order; never biases or normalisation.

    A weight that several layers share is one weight with one mask, under its first name.
      include, exclude: patterns. A pattern is a glob on the parameter's or its layer's whole name (`fc`, `layer4.*`),
        or one of `@first`, `@head` (the first and the last such weight), `@body` (all but the last) and `@shortcuts`
        (projection shortcuts).
        A pattern of `include` that matches none of these weights may name any other parameter with two or more
        dimensions: an embedding, or one that the network multiplies by itself
    Raises ValueError for a pattern that matches no weight, and if nothing is left.
    """
    found = _layer_weights(net)
    others = {n: p for n, p in net.named_parameters() if n not in found and p.dim() >= 2 and p.is_floating_point()}
    if not found and not any(_named(pattern, others) for pattern in _patterns(include)):
        raise ValueError(f"{type(net).__name__} has no conv or linear weight to prune")
    kept = _matching(include, list(found), others) - _matching(exclude, list(found), reparametrised(net))
    if not kept:
        raise ValueError(f"include={list(include)} exclude={list(exclude)} leave nothing to prune of {list(found)}")
    return {name: weight for name, weight in net.named_parameters() if name in kept}


def reparametrised(net: nn.Module) -> dict[str, str]:
    """Weights that are computed from other parameters in each forward pass, and how (weight norm, ...).

    Masks do not cover them: weight norm gives NaN for an output whose weights are all pruned, and
    `torch.nn.utils.prune` has masks of its own. Weights under spectral norm are not among them: it divides by a scalar,
    so that pruned weights stay zero.
    """
    found = {}
    for layer, module in net.named_modules():
        for name in _weight_names(module):
            if _own_weight(module, name) is None:
                found[f"{layer}.{name}".lstrip(".")] = _how(module, name)
    return found


def weights_of(module: nn.Module) -> list[nn.Parameter]:
    """The prunable weights of a layer itself, not of its children; empty for other modules.

    For attention: its input projections, packed or not. `out_proj` is a child, a linear layer.
    """
    weights = [_own_weight(module, name) for name in _weight_names(module)]
    return [weight for weight in weights if weight is not None]


def _layer_weights(net: nn.Module) -> dict[str, nn.Parameter]:
    wanted = {id(weight) for module in net.modules() for weight in weights_of(module)}
    return {name: p for name, p in net.named_parameters() if id(p) in wanted}


def _weight_names(module: nn.Module) -> list[str]:
    """Names of the attributes that hold the weights of a layer."""
    if isinstance(module, (*LAYERS, *_OTHER_LAYERS)):
        return ["weight"]
    if isinstance(module, nn.RNNCellBase):
        return ["weight_ih", "weight_hh"]
    if isinstance(module, nn.RNNBase):
        return [name for name in module._flat_weights_names if _OF_RECURRENT.fullmatch(name)]
    if isinstance(module, nn.MultiheadAttention):
        unused = [name for name in _PROJECTIONS if module._parameters.get(name, module) is None]
        return [name for name in _PROJECTIONS if name not in unused]
    return []


def _own_weight(module: nn.Module, name: str) -> nn.Parameter | None:
    """The parameter that a layer multiplies by, up to a scalar; None if it is computed from other parameters."""
    if name in module._parameters:
        return module._parameters[name]
    if any(isinstance(hook, SpectralNorm) and hook.name == name for hook in module._forward_pre_hooks.values()):
        return module._parameters.get(f"{name}_orig")
    steps = _parametrizations(module, name)
    if steps and all(isinstance(step, _SpectralNorm) for step in steps):
        return module.parametrizations[name].original
    return None


def _parametrizations(module: nn.Module, name: str) -> list[nn.Module]:
    named = getattr(module, "parametrizations", {})
    return list(named[name]) if name in named else []


def _how(module: nn.Module, name: str) -> str:
    """Name of the reparametrisation that computes a weight."""
    steps = _parametrizations(module, name)
    if steps:
        return " and ".join(type(step).__name__.strip("_") for step in steps)
    if f"{name}_mask" in module._buffers:
        return "torch.nn.utils.prune"
    return "weight norm" if f"{name}_v" in module._parameters else type(module).__name__


def _patterns(patterns: Iterable[str]) -> list[str]:
    return [patterns] if isinstance(patterns, str) else list(patterns)


def _named(pattern: str, others: Iterable[str]) -> set[str]:
    """The names in `others` that a pattern matches; none for `*` and `@...`, which select weights of layers only."""
    return set() if pattern == "*" or pattern.startswith("@") else names_matching(pattern, list(others))


def _matching(patterns: Iterable[str], names: list[str], others: Iterable[str]) -> set[str]:
    """The `names` that patterns match; a pattern that matches none of them may match some of `others`."""
    matched: set[str] = set()
    for pattern in _patterns(patterns):
        found = (names_matching(pattern, names) if names else set()) or _named(pattern, others)
        if not found:
            raise ValueError(f"pattern {pattern!r} matches no prunable weight; there are {names}")
        matched |= found
    return matched


def bias_name(weight: str) -> str:
    """The parameter name of the bias of the layer with this weight; the layer may have none."""
    return weight.removesuffix("weight") + "bias"


def batch_norms(net: nn.Module) -> dict[str, _BatchNorm]:
    """The batch norms of `net`, of any dimension, by module name."""
    return {name: module for name, module in net.named_modules() if isinstance(module, _BatchNorm)}


def names_matching(pattern: str, names: Sequence[str]) -> set[str]:
    """The `names` that `pattern` matches (see `prunable`); names are in the order of the network.

    Raises ValueError for an unknown name that begins with @.
    """
    if pattern.startswith("@") and pattern not in _NAMED:
        raise ValueError(f"pattern {pattern!r}: a pattern that begins with @ must be one of {', '.join(_NAMED)}")
    if pattern == "@first":
        return {names[0]}
    if pattern == "@head":
        return {names[-1]}
    if pattern == "@body":
        return set(names[:-1])
    if pattern == "@shortcuts":
        return {n for n in names if "shortcut" in n or "downsample" in n}
    return {n for n in names if fnmatchcase(n, pattern) or fnmatchcase(n.rpartition(".")[0], pattern)}
