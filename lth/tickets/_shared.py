"""Starting weights that several tickets of a run share, in one file of the run's folder, named by their digest."""

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lth.pruning.masks import fingerprint
from lth.storage.atomic import write_with
from lth.storage.packing import Packed
from lth.tickets._metadata import headers
from lth.tickets._stored import smaller

_NAME = "starting_weights_{}.safetensors"
_ENTRY = "lth_starting_weights"  # the entry of the metadata that holds the dtype and shape of each weight


def name_of(weights: Mapping[str, Tensor]) -> str:
    """The name of the file that holds these masked weights. It contains their digest."""
    return _NAME.format(fingerprint(weights)[:32])


def write_shared(run: Path, weights: Mapping[str, Tensor], name: str) -> None:
    """Write masked weights into a file of a run's folder. A file that exists is kept.

    name: `name_of(weights)`
    """
    if (run / name).is_file():
        return
    tensors: dict[str, Tensor] = {}
    for key, weight in weights.items():
        tensors |= smaller("zeros", "weight", key, weight.detach().cpu().contiguous().clone())
    kinds = {key: [str(w.dtype).removeprefix("torch."), list(w.shape)] for key, w in weights.items()}
    metadata = {_ENTRY: json.dumps(kinds)}
    write_with(run / name, lambda temporary: save_file(tensors, temporary, metadata=metadata))


def find_shared(ticket: str | Path, name: str) -> Path | None:
    """The file `name` in the folder of a ticket or in its parent, the run's folder; None where it is in neither."""
    folder = Path(ticket).absolute().parent
    return next((place / name for place in (folder, folder.parent) if (place / name).is_file()), None)


def read_shared(path: Path, name: str) -> dict[str, Tensor]:
    """The masked weights in the file `path`. Raises ValueError where their digest is not the one in `name`."""
    try:
        with safe_open(str(path), framework="pt") as file:
            kinds = json.loads(file.metadata()[_ENTRY])
            tensors = {key: file.get_tensor(key) for key in list(file.keys())}
        weights = {key: _weight(tensors, key, *kind) for key, kind in kinds.items()}
        damaged = name_of(weights) != name
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, RecursionError):
        damaged = True
    if damaged:
        raise ValueError(f"{path} is damaged: its starting weights do not have the digest that its name contains")
    return weights


def remove_unneeded(run: Path) -> None:
    """Remove a run's files of starting weights that no ticket needs. Where a ticket is damaged, all files are kept."""
    found = list(run.glob(_NAME.format("[0-9a-f]" * 32)))
    known = [header for _, header in headers(run)] if found else []
    if None in known:
        return
    needed = {header.get("starting_weights") for header in known if header and header.get("stored_weights") == "shared"}
    for path in found:
        if path.name not in needed:
            path.unlink(missing_ok=True)


def _weight(tensors: Mapping[str, Tensor], key: str, dtype: str, shape: list[int]) -> Tensor:
    if f"zeros/{key}" in tensors:
        return Packed(tensors[f"zeros/{key}"], dtype, shape).tensor()
    return tensors[f"weight/{key}"]
