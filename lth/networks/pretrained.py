"""Weights from elsewhere for a network that is already built."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """A state dict from a safetensors file or a torch file, there also one kept under the key `state_dict`."""
    if not Path(path).is_file():
        raise ValueError(
            f"pretrained={str(path)!r} is no file; valid: false, true or the path of a .safetensors or .pt"
        )
    if Path(path).suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    state = torch.load(path, map_location="cpu", weights_only=True)
    return state.get("state_dict", state)


def load_(net: nn.Module, weights: Mapping[str, Tensor], classes: int) -> None:
    """Load `weights` in place, except those of a classifier over another number of classes, which stays as drawn."""
    own = net.state_dict()
    strangers = sorted(own.keys() ^ weights.keys())
    if strangers:
        raise ValueError(f"pretrained weights are of another network: {', '.join(strangers[:5])} on one side only")
    other = [name for name in own if own[name].shape != weights[name].shape]
    for name in other:
        here, there = own[name].shape, weights[name].shape
        if here[1:] != there[1:] or here[0] != classes:
            raise ValueError(f"pretrained {name} has shape {tuple(there)}, the network's has {tuple(here)}")
    net.load_state_dict({name: weights[name] for name in own if name not in other}, strict=False)
