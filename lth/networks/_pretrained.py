"""Pretrained weights of a file or a library, loaded into a network that may have another classifier."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from lth.tickets.formats.content import COUNTER, read


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The state dict in a file of any kind that `lth ticket import` reads.

    Raises ValueError for a missing file, a file of another kind, and a file of a pruned network.
    """
    if not Path(path).is_file():
        raise ValueError(
            f"pretrained={str(path)!r} is not a file; valid: false, true or the path of a .safetensors or .pt"
        )
    content = read(path)
    if content.masks and not all(bool(mask.all()) for mask in content.masks.values()):
        raise ValueError(
            f"pretrained={str(path)!r} is a pruned network, whose masks would be lost; start from it with "
            "method=retrain ticket=FILE (`lth ticket import` makes a ticket of it)"
        )
    return dict(content.weights)


def load_(net: nn.Module, weights: Mapping[str, Tensor], classes: int, source: str) -> None:
    """Load `weights` in place, except a classifier with another number of classes, which keeps its initial weights.

    net: the network
    weights: a state dict; a prefix that all names of this network share in it is removed
    classes: number of classes of the network
    source: name of the weights in messages

    Raises ValueError if names or other shapes differ, and for weights that are NaN.
    """
    own = net.state_dict()
    weights = _below_prefix(weights, own, source)
    differing = sorted(
        name for name in own.keys() ^ weights.keys() if not name.endswith(COUNTER)
    )  # frozen norms have no counter
    if differing:
        raise ValueError(f"{source} is of another network: only one of the two has {', '.join(differing[:5])}")
    shared = [name for name in own if name in weights]
    other = [name for name in shared if own[name].shape != weights[name].shape]
    for name in other:
        here, there = own[name].shape, weights[name].shape
        if here[1:] != there[1:] or here[0] != classes:
            raise ValueError(f"{source}: {name} has shape {tuple(there)}, the network's has {tuple(here)}")
    if damaged := [name for name in shared if bool(weights[name].isnan().any())]:
        raise ValueError(f"{source}: these weights are not numbers (NaN): {', '.join(damaged[:5])}")
    net.load_state_dict({name: weights[name] for name in shared if name not in other}, strict=False)


def _below_prefix(weights: Mapping[str, Tensor], own: Mapping[str, Tensor], source: str) -> Mapping[str, Tensor]:
    """`weights` without the prefix that its names of this network share; unchanged if it has no such prefix.

    own: the network's state dict
    """
    needed = [name for name in own if not name.endswith(COUNTER)]
    if all(name in weights for name in needed):
        return weights
    starts = {name.removesuffix(needed[0]) for name in weights if name.endswith(f".{needed[0]}")}
    fitting = sorted(start for start in starts if all(start + name in weights for name in needed))
    if len(fitting) > 1:
        raise ValueError(f"{source} holds several networks, under {', '.join(fitting)}; save the state dict of one")
    if not fitting:
        return weights
    return {name.removeprefix(fitting[0]): w for name, w in weights.items() if name.startswith(fitting[0])}
