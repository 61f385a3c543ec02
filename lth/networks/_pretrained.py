"""Pretrained weights: read from a file, and loaded into a network that may have another classifier."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The state dict in a safetensors or torch file; a torch file may hold it under the key `state_dict`."""
    if not Path(path).is_file():
        raise ValueError(
            f"pretrained={str(path)!r} is not a file; valid: false, true or the path of a .safetensors or .pt"
        )
    if Path(path).suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    state = torch.load(path, map_location="cpu", weights_only=True)
    return state.get("state_dict", state)


def load_(net: nn.Module, weights: Mapping[str, Tensor], classes: int) -> None:
    """Load `weights` in place, except a classifier with another number of classes, which keeps its initial weights.

    Raises ValueError if names or other shapes differ.
    """
    own = net.state_dict()
    differing = sorted(own.keys() ^ weights.keys())
    if differing:
        raise ValueError(
            f"pretrained weights are of another network: only one of the two has {', '.join(differing[:5])}"
        )
    other = [name for name in own if own[name].shape != weights[name].shape]
    for name in other:
        here, there = own[name].shape, weights[name].shape
        if here[1:] != there[1:] or here[0] != classes:
            raise ValueError(f"pretrained {name} has shape {tuple(there)}, the network's has {tuple(here)}")
    net.load_state_dict({name: weights[name] for name in own if name not in other}, strict=False)
