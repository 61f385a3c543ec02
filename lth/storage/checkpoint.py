"""Reading checkpoints, and copying their values into a network."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


@torch.no_grad()
def copy_state_(net: nn.Module, values: dict[str, Tensor]) -> None:
    """Copy parameters and buffers by name, in place: lists, graphs and optimizers keep pointing at them."""
    state = net.state_dict()
    unknown = [name for name in values if name not in state or state[name].shape != values[name].shape]
    if unknown:
        raise ValueError(f"these values do not fit {type(net).__name__}: {unknown}")
    for name, value in values.items():
        state[name].copy_(value)


def load_checkpoint(path: Path, map_location: Any = "cpu") -> dict[str, Any]:
    """Read a checkpoint of plain containers. Raises ValueError naming the file when it is damaged."""
    try:
        return torch.load(path, map_location=map_location or "cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:
        raise ValueError(
            f"{path} is damaged or not a checkpoint of lth ({error}); delete it to repeat its level"
        ) from None
