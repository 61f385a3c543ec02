"""The weights that masks may cover: every conv, linear and attention weight, restricted by name patterns."""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
_PROJECTIONS = (
    "in_proj_weight",
    "q_proj_weight",
    "k_proj_weight",
    "v_proj_weight",
)  # None if unused
_NAMED = ("@first", "@head", "@shortcuts")  # patterns that are no globs


def prunable(net: nn.Module, include: Sequence[str] = ("*",), exclude: Sequence[str] = ()) -> dict[str, nn.Parameter]:
    """The weights that masks may cover, by parameter name, in registration order; never biases and normalisation.

      include, exclude: patterns. A pattern is a glob on the parameter's or its layer's whole name (`fc`, `layer4.*`),
        or one of `@first`, `@head` (the first and the last such weight) and `@shortcuts` (projection shortcuts)
    Raises ValueError for a pattern that matches no weight, and if nothing is left.
    """
    found = _layer_weights(net)
    if not found:
        raise ValueError(f"{type(net).__name__} has no conv or linear weight to prune")
    kept = _matching(include, found) - _matching(exclude, found)
    if not kept:
        raise ValueError(f"include={list(include)} exclude={list(exclude)} leave nothing to prune of {list(found)}")
    return {name: weight for name, weight in found.items() if name in kept}


def _layer_weights(net: nn.Module) -> dict[str, nn.Parameter]:
    wanted = {id(weight) for module in net.modules() for weight in weights_of(module)}
    return {name: p for name, p in net.named_parameters() if id(p) in wanted}


def weights_of(module: nn.Module) -> list[nn.Parameter]:
    """The prunable weights of a layer itself, not of its children; empty for other modules.

    For attention: its input projections, packed or not. `out_proj` is a child, a linear layer.
    """
    if isinstance(module, LAYERS):
        return [module.weight]
    if isinstance(module, nn.MultiheadAttention):
        return [w for w in (getattr(module, name) for name in _PROJECTIONS) if w is not None]
    return []


def _matching(patterns: Iterable[str], found: dict[str, nn.Parameter]) -> set[str]:
    matched: set[str] = set()
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        names = names_matching(pattern, list(found))
        if not names:
            raise ValueError(f"pattern {pattern!r} matches no prunable weight; there are {list(found)}")
        matched |= names
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
    if pattern == "@shortcuts":
        return {n for n in names if "shortcut" in n or "downsample" in n}
    return {n for n in names if fnmatchcase(n, pattern) or fnmatchcase(n.rpartition(".")[0], pattern)}
