"""Which weights masks may cover: every conv, linear and packed attention weight, narrowed by name patterns."""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from torch import nn

LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
PROJECTIONS = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")  # of attention; None where unused


def prunable(net: nn.Module, include: Sequence[str] = ("*",), exclude: Sequence[str] = ()) -> dict[str, nn.Parameter]:
    """The weights masks may cover, by parameter name, in registration order.

    A pattern is a shell-style glob on the whole parameter name or its layer's name (`fc`, `layer4.*`), or one of
    `@first`, `@head` (the first and last such weight) and `@shortcuts` (projections beside residual branches).
    Biases and normalisation are never covered. Raises ValueError for a pattern that matches no weight.
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
    """The weights a layer multiplies its input with; none of anything that is not a prunable layer.

    Attention gives its projections, packed or not, but not `out_proj`, which is a linear layer of its own.
    """
    if isinstance(module, LAYERS):
        return [module.weight]
    if isinstance(module, nn.MultiheadAttention):
        return [w for w in (getattr(module, name) for name in PROJECTIONS) if w is not None]
    return []


def _matching(patterns: Iterable[str], found: dict[str, nn.Parameter]) -> set[str]:
    matched: set[str] = set()
    for pattern in patterns:
        names = names_matching(pattern, list(found))
        if not names:
            raise ValueError(f"pattern {pattern!r} matches no prunable weight; there are {list(found)}")
        matched |= names
    return matched


def bias_name(weight: str) -> str:
    """The parameter name of the bias of the layer with this weight; the layer may have none."""
    return weight.removesuffix("weight") + "bias"


def names_matching(pattern: str, names: Sequence[str]) -> set[str]:
    """Those of `names`, weights in the order of their network, that `pattern` stands for (see `prunable`)."""
    if pattern == "@first":
        return {names[0]}
    if pattern == "@head":
        return {names[-1]}
    if pattern == "@shortcuts":
        return {n for n in names if "shortcut" in n or "downsample" in n}
    return {n for n in names if fnmatchcase(n, pattern) or fnmatchcase(n.rpartition(".")[0], pattern)}
