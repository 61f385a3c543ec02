"""Reading checkpoints, and copying their values into a network."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


@torch.no_grad()
def copy_state_(net: nn.Module, values: Mapping[str, Tensor]) -> None:
    """Copy parameters and buffers into `net` by name, in place: optimizers and compiled graphs keep their references.

    Raises ValueError naming the values whose name or shape the network does not have.
    """
    state = net.state_dict()
    unknown = [name for name in values if name not in state or state[name].shape != values[name].shape]
    if unknown:
        raise ValueError(f"these values do not fit {type(net).__name__}: {unknown}")
    for name, value in values.items():
        state[name].copy_(value)


def load_checkpoint(path: Path, map_location: Any = "cpu") -> dict[str, Any]:
    """Read a checkpoint of plain containers, without pickle.

    Raises FileNotFoundError, or ValueError naming the file when it is damaged.
    """
    try:
        return torch.load(path, map_location=map_location or "cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:
        raise ValueError(
            f"{path} is damaged or not a checkpoint of lth ({error}); delete it to repeat its level"
        ) from None


def final_weights(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """Parameters and buffers, by their names in the network, that a level ended with: the next level starts from them.

    Where a search learned them, its result replaces what the network holds. Masks are not applied; they are
    `checkpoint["masks"]`, parameter name -> bool tensor.
    """
    weights = {k.removeprefix("net."): v for k, v in checkpoint["state_dict"].items() if k.startswith("net.")}
    return weights | dict(checkpoint["found"])


def evaluated_weights(checkpoint: Mapping[str, Any], net: nn.Module) -> dict[str, Tensor]:
    """`final_weights`, with the recipe's exponential moving average of the parameters where there is one.

    net: the level's network, whose parameters the average follows in order
    """
    averages = [state["average"] for state in checkpoint["callbacks"].values() if "average" in state]
    averaged = dict(zip((name for name, _ in net.named_parameters()), *averages, strict=True)) if averages else {}
    return final_weights(checkpoint) | averaged
