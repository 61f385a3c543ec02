"""The biases that a search may choose from along with their layers' weights."""

from collections.abc import Iterable

from torch import nn


def biases_of(net: nn.Module, names: Iterable[str]) -> dict[str, nn.Parameter]:
    """Name -> bias of the layers whose weights are named, where they have one; raises ValueError where none has."""
    parameters = dict(net.named_parameters())
    wanted = [name.removesuffix("weight") + "bias" for name in names]
    found = {name: parameters[name] for name in wanted if name in parameters}
    if not found:
        raise ValueError("biases=true, but no prunable layer of this network has a bias (model.bias=true)")
    return found


def layers_of(weights: Iterable[str], biases: Iterable[str]) -> list[list[int]]:
    """Places of what belongs to each layer, in the list of all `weights` and then `biases`."""
    weights, biases = list(weights), list(biases)
    names = [*weights, *biases]
    own = [name.removesuffix("weight") + "bias" for name in weights]
    return [[i, names.index(bias)] if bias in biases else [i] for i, bias in enumerate(own)]
