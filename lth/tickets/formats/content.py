"""Reads files of any kind for tickets: weights, masks, and whether the network was trained."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lth.tickets._metadata import has_header
from lth.tickets.formats._encodings import agreed, as_bool, separate
from lth.tickets.formats._names import plain, unheld
from lth.tickets.formats._safely import digest, load
from lth.tickets.thinned import Recipe, ThinnedFile
from lth.tickets.ticket import Ticket

# keys under which programs store the state dict, perhaps one in the other
_STATES = ("state_dict", "model_state_dict", "model", "net", "network", "weights")
_OF_TENSORS = ("weight", "bias", "mask", "_orig", ".original")  # ends of names that only tensors have
COUNTER = "num_batches_tracked"  # counter of batch norm
_OPTIMIZERS = ("optimizer_states", "optimizer_state_dict", "optimizer")


@dataclass(frozen=True)
class Content:
    """Weights and masks of one file.

    weights: the whole state, buffers included, under the names of the plain network
    masks: bool, as stored; None if the file has none; a thinned network's may have other shapes than its weights
    trained: evidence that the network was trained, in words; empty for an untrained one
    recipes: how the network was thinned, in the order applied
    source: name and SHA-256 of the file
    header: header of a ticket or thinned file; empty for other files
    missing: name of the file with the weights of pruned places, if a ticket lacks them; else empty
    """

    weights: Mapping[str, Tensor]
    masks: Mapping[str, Tensor] | None
    trained: str = ""
    recipes: tuple[Any, ...] = ()
    source: Mapping[str, Any] = field(default_factory=dict)
    header: Mapping[str, Any] = field(default_factory=dict)
    missing: str = ""

    def check(self, whole: str) -> None:
        """Raise ValueError for a ticket that lacks weights, as `Ticket.check_weights` does."""
        if self.missing:
            Ticket(self.masks or {}, self.weights, {}, self.missing).check_weights(str(self.source.get("file")), whole)


def read(path: str | Path, prefix: str | None = None) -> Content:
    """Read a ticket, thinned file, state dict, or checkpoint of lth, Lightning, Distiller, TurboPrune or open_lth.

    prefix: the part of every name that comes before the network's own, e.g. `backbone.`; `net.`, `model.` and
        `network.` are recognised without it

    Raises FileNotFoundError for a missing file and ValueError for a file of another kind.
    """
    if has_header(path, "lth"):
        ticket = Ticket.load(path)
        return Content(ticket.weights, ticket.masks, "", (), source_of(path), ticket.header, ticket.missing)
    if has_header(path, "lth_thin"):
        small = ThinnedFile.load(path)
        return Content(small.weights, small.masks, "", (small.recipe,), source_of(path), small.header)
    return of_checkpoint(load(path), path, prefix)


def of_checkpoint(loaded: Any, path: str | Path, prefix: str | None = None) -> Content:
    """The content of a checkpoint that was loaded.

    loaded: a dictionary that is a state dict or holds one
    path: the file it was read from, for messages and for `source`

    Raises ValueError if there are no weights in it.
    """
    if not isinstance(loaded, Mapping):
        raise ValueError(f"{path} holds a {type(loaded).__name__}, not a dictionary")
    state = _state_in(loaded)
    tensors = {str(n): v for n, v in state.items() if torch.is_tensor(v)}
    if wrong := [n for n in map(str, state) if n not in tensors and n.endswith(_OF_TENSORS)]:
        raise ValueError(f"{path} is damaged or no checkpoint: {wrong} are no tensors")
    if not tensors:
        raise ValueError(f"{path} holds no weights: its keys are {list(loaded)[:8]}")
    try:
        weights, found = separate(unheld(plain(tensors), prefix))
        weights = _with_counters(weights)
        found |= {name: masks for name, masks in _beside(loaded).items() if masks}
        masks = agreed(found)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    scheduled = loaded.get("thinning_recipes") or ()
    if not all(isinstance(recipe, Recipe) for recipe in scheduled):
        raise ValueError(f"{path} is damaged: its thinning_recipes are no recipes")
    recipes = tuple(r._replace(modules=plain(r.modules), parameters=plain(r.parameters)) for r in scheduled)
    trained = _evidence({} if state is loaded else loaded, weights)
    return Content(weights, masks, trained, recipes, source_of(path))


def _state_in(loaded: Mapping[str, Any]) -> Mapping[str, Any]:
    """The state dict among the content of a file: the content itself, or the mapping under a known key."""
    key = next((key for key in _STATES if isinstance(loaded.get(key), Mapping)), None)
    return _state_in(loaded[key]) if key else loaded


def _with_counters(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights, with the counters of batch norm that torch did not store before 0.4.1 set to 0, as torch does."""
    if any(name.endswith(COUNTER) for name in weights):
        return dict(weights)
    full: dict[str, Tensor] = {}
    for name, weight in weights.items():
        full[name] = weight
        if name.rpartition(".")[2] == "running_var":
            full[name.removesuffix("running_var") + COUNTER] = torch.zeros((), dtype=torch.long)
    return full


def _evidence(checkpoint: Mapping[str, Any], weights: Mapping[str, Tensor]) -> str:
    """The first sign of training: a counter of steps, optimizer state, or batches counted by batch norm."""
    for key in ("global_step", "epoch", "ep", "it"):
        value = checkpoint.get(key)
        if isinstance(value, int) and value > 0:
            return f"{key}={value}"
    for key in _OPTIMIZERS:
        states = checkpoint.get(key) or []
        for state in states if isinstance(states, list) else [states]:
            if isinstance(state, Mapping) and state.get("state"):
                return "its optimizer has taken steps"
    for name, value in weights.items():
        if name.endswith(COUNTER) and int(value) > 0:
            return f"{name}={int(value)}"
    return ""


def source_of(path: str | Path) -> dict[str, Any]:
    """Name and SHA-256 of a file, for the header of a ticket made from it."""
    return {"file": Path(path).name, "sha256": digest(path)}


def _beside(loaded: Mapping[str, Any]) -> dict[str, dict[str, Tensor]]:
    """Masks stored beside the state dict: lth's, and Distiller's, where None stands for a layer without a mask."""
    own = loaded.get("masks") if isinstance(loaded.get("masks"), Mapping) else {}
    schedule = loaded.get("compression_sched")
    scheduled = schedule.get("masks_dict") if isinstance(schedule, Mapping) else None
    found = {"lth": own or {}, "distiller": {n: m for n, m in (scheduled or {}).items() if m is not None}}
    return {name: {n: as_bool(m, n) for n, m in plain(masks).items()} for name, masks in found.items()}
