"""Writing and reading checkpoints, and copying their values into a network."""

import errno
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lth.storage._seal import checked, sealed
from lth.storage.atomic import write_torch
from lth.storage.packing import Packed


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


def write_checkpoint(path: Path, content: Mapping[str, Any], pack: bool = False) -> None:
    """Write a file of a run that is read again: atomically, and sealed against damage (`lth.storage._seal`).

    pack: whether zeros and masks are stored in fewer bytes (`lth.storage.packing`), without loss
    """
    write_torch(path, sealed(path, Packed.mapping(content) if pack else content))


def load_checkpoint(path: Path) -> dict[str, Any]:
    """What `write_checkpoint` wrote, with tensors on the CPU; read without running code from the file.

    In a truncated file torch seeks beyond the end. That OSError (EINVAL) means damage too.

    Raises FileNotFoundError, or ValueError naming the file when it is damaged or belongs to another level or run.
    """
    if not path.exists() and (path.parent / "finished").is_file():
        raise FileNotFoundError(f"{path} is not there: the run keeps the results of this level alone (keep=results)")
    try:
        return Packed.unpacked(checked(path, torch.load(path, map_location="cpu", weights_only=True)))
    except Exception as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # missing, or the disk fails
            raise
        what = "its level" if path.name == "last.ckpt" else "what it holds, with the files of all levels"
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(
            f"{path} is damaged or not a checkpoint of lth ({reason}); delete it to repeat {what}"
        ) from None


def final_weights(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """Parameters and buffers with which a level ended, by their names in the network; the next level starts from them.

    Results of a search replace the values in the network. Masks are not applied; they are
    `checkpoint["masks"]`, parameter name -> bool tensor.
    """
    weights = {k.removeprefix("net."): v for k, v in checkpoint["state_dict"].items() if k.startswith("net.")}
    return weights | dict(checkpoint["found"])
