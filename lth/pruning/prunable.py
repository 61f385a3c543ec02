"""Which weights masks may cover: every conv, linear and packed attention weight, narrowed by name patterns."""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from torch import nn

LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
PACKED = "in_proj_weight"


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
    wanted = set()
    for module in net.modules():
        if isinstance(module, LAYERS):
            wanted.add(id(module.weight))
        elif isinstance(module, nn.MultiheadAttention) and module.in_proj_weight is not None:
            wanted.add(id(module.in_proj_weight))
    return {name: p for name, p in net.named_parameters() if id(p) in wanted}


def _matching(patterns: Iterable[str], found: dict[str, nn.Parameter]) -> set[str]:
    matched: set[str] = set()
    for pattern in patterns:
        names = _names(pattern, list(found))
        if not names:
            raise ValueError(f"pattern {pattern!r} matches no prunable weight; there are {list(found)}")
        matched |= names
    return matched


def _names(pattern: str, names: list[str]) -> set[str]:
    if pattern == "@first":
        return {names[0]}
    if pattern == "@head":
        return {names[-1]}
    if pattern == "@shortcuts":
        return {n for n in names if "shortcut" in n or "downsample" in n}
    return {n for n in names if fnmatchcase(n, pattern) or fnmatchcase(n.rpartition(".")[0], pattern)}
