"""What a file of any kind holds that a ticket needs: weights, masks, and how far it was trained."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lth.tickets.formats._encodings import agreed, as_bool, separate
from lth.tickets.formats._names import plain, unheld
from lth.tickets.formats._safely import digest, load
from lth.tickets.thinned import ThinnedFile, is_thinned
from lth.tickets.ticket import Ticket

STATES = ("state_dict", "model_state_dict", "model", "weights")  # where programs put the state dict
OPTIMIZERS = ("optimizer_states", "optimizer_state_dict", "optimizer")


@dataclass(frozen=True)
class Content:
    """Weights and masks of one file. masks: as stored, None without any; other shapes than the weights' are possible.

    trained: what shows that steps were taken, or an empty string. recipes: how the network was thinned.
    """

    weights: Mapping[str, Tensor]
    masks: Mapping[str, Tensor] | None
    trained: str = ""
    recipes: tuple[Any, ...] = ()
    source: Mapping[str, Any] = field(default_factory=dict)
    header: Mapping[str, Any] = field(default_factory=dict)


def read(path: str | Path, prefix: str | None = None) -> Content:
    """Read a ticket, a thinned file, a checkpoint of lth, Lightning, Distiller, TurboPrune, open_lth, or a state dict.

    prefix: the name under which the training code holds the network, where it is none of the usual. Raises
    FileNotFoundError, and ValueError for anything else.
    """
    if is_ticket(path):
        ticket = Ticket.load(path)
        return Content(ticket.weights, ticket.masks, "", (), source_of(path), ticket.header)
    if is_thinned(path):
        small = ThinnedFile.load(path)
        return Content(small.weights, small.masks, "", (small.recipe,), source_of(path), small.header)
    return of_checkpoint(load(path), path, prefix)


def of_checkpoint(loaded: Any, path: str | Path, prefix: str | None = None) -> Content:
    """The content of what `load` returned."""
    if not isinstance(loaded, Mapping):
        raise ValueError(f"{path} holds a {type(loaded).__name__}, not a dictionary")
    key = next((k for k in STATES if isinstance(loaded.get(k), Mapping)), None)
    state = loaded[key] if key else loaded
    tensors = {str(n): v for n, v in state.items() if torch.is_tensor(v)}
    if not tensors:
        raise ValueError(f"{path} holds no weights: its keys are {list(loaded)[:8]}")
    weights, found = separate(unheld(plain(tensors), prefix))
    found |= {name: masks for name, masks in _beside(loaded).items() if masks}
    scheduled = loaded.get("thinning_recipes") or ()
    recipes = tuple(r._replace(modules=plain(r.modules), parameters=plain(r.parameters)) for r in scheduled)
    trained = evidence(loaded if key else {}, weights)
    return Content(weights, agreed(found), trained, recipes, source_of(path))


def evidence(checkpoint: Mapping[str, Any], weights: Mapping[str, Tensor]) -> str:
    """What shows that a network was trained, in words; empty for an untrained one."""
    for key in ("global_step", "epoch", "ep", "it"):
        value = checkpoint.get(key)
        if isinstance(value, int) and value > 0:
            return f"{key}={value}"
    for key in OPTIMIZERS:
        states = checkpoint.get(key) or []
        for state in states if isinstance(states, list) else [states]:
            if isinstance(state, Mapping) and state.get("state"):
                return "its optimizer has taken steps"
    for name, value in weights.items():
        if name.endswith("num_batches_tracked") and int(value) > 0:
            return f"{name}={int(value)}"
    return ""


def source_of(path: str | Path) -> dict[str, Any]:
    """A file's name and hash, for provenance."""
    return {"file": Path(path).name, "sha256": digest(path)}


def is_ticket(path: str | Path) -> bool:
    """Whether a file is a safetensors file that calls itself a ticket; sound or not."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"no file at {path}")
    try:
        with safe_open(str(path), framework="pt") as file:
            return "lth" in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False


def _beside(loaded: Mapping[str, Any]) -> dict[str, dict[str, Tensor]]:
    """Masks outside the state dict: lth's own, and those of Distiller's schedule, where None is unpruned."""
    own = loaded.get("masks") if isinstance(loaded.get("masks"), Mapping) else {}
    schedule = loaded.get("compression_sched")
    scheduled = schedule.get("masks_dict") if isinstance(schedule, Mapping) else None
    found = {"lth": own or {}, "distiller": {n: m for n, m in (scheduled or {}).items() if m is not None}}
    return {name: {n: as_bool(m, n) for n, m in plain(masks).items()} for name, masks in found.items()}
