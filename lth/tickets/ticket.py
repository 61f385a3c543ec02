"""The ticket: masks, weights to train from and provenance in one safetensors file, which is read without pickle."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lth.pruning.masks import fingerprint
from lth.storage.atomic import write_with
from lth.storage.packing import unpack
from lth.tickets._metadata import headers
from lth.tickets._shared import find_shared, name_of, read_shared, remove_unneeded, write_shared
from lth.tickets._stored import covered_weights, to_tensors, to_weights

FORMAT = "lth-ticket-2"
_FORMATS = ("lth-ticket-1", FORMAT)  # the first stores all weights whole


@dataclass
class Ticket:
    """A subnetwork and its provenance.

    masks: parameter name -> bool tensor of the parameter's shape, True = kept
    weights: the whole unmasked state that training starts from, buffers included; empty in a ticket of masks alone
    header: density, network, dataset, seeds, method, level, parent and the like (JSON values)
    missing: name of the file that holds the starting weights of pruned places, where it was not found; `weights` are
        zero there. Such a ticket can be trained, but not changed: see `check_weights`
    """

    masks: Mapping[str, Tensor]
    weights: Mapping[str, Tensor]
    header: dict[str, Any] = field(default_factory=dict)
    missing: str = ""

    @property
    def kept(self) -> int:
        """Number of kept weights."""
        return sum(int(torch.count_nonzero(m)) for m in self.masks.values())

    @property
    def total(self) -> int:
        """Number of prunable weights."""
        return sum(m.numel() for m in self.masks.values())

    @property
    def density(self) -> float:
        """Fraction of prunable weights kept, 0..1."""
        return self.kept / self.total

    @property
    def complete(self) -> bool:
        """Whether `weights` are all starting weights, those of pruned places included."""
        return bool(self.weights) and not self.missing

    def check_weights(self, path: str | Path, whole: str = "") -> None:
        """Raise ValueError for a ticket without weights, and, if `whole` is given, for one that is not complete.

        path: the ticket's file, for the message
        whole: name of the operation that needs the starting weights of pruned places, for the message
        """
        if not self.weights:
            why = self.header.get("removed", "it holds masks alone")
            raise ValueError(f"the ticket {path} has no weights to start from: {why}")
        if whole and self.missing:
            raise ValueError(
                f"{whole} needs the starting weights of pruned places. They are not in the ticket {path} but in "
                f"{self.missing} of its run: copy that file into the ticket's folder; or, where that file is, write a "
                "complete ticket with `lth ticket export TICKET --complete --out FILE`"
            )

    def save(self, path: str | Path, run: Path | None = None) -> None:
        """Write the file: packed masks (1 bit per weight), weights, JSON header. Atomic: a crash leaves the old file.

        run: folder of the ticket's run. If another ticket of its levels has the same starting weights, those of pruned
            places are stored once, in a file of that folder. None = the ticket file holds all weights
        """
        covered = covered_weights(self.masks, self.weights)
        name = self.missing or (name_of(covered) if self.weights else None)
        state = "none" if not self.weights else "kept" if self.missing else "whole"
        if run is not None and state == "whole" and self.kept < self.total and _known(name, run, Path(path)):
            write_shared(run, covered, str(name))
            state = "shared"
        tensors = to_tensors(self.masks, self.weights, rest=state == "whole")
        own = {
            "format": FORMAT,
            "sha256": None,
            "shapes": {name: list(m.shape) for name, m in self.masks.items()},
            "kept": self.kept,
            "prunable": self.total,
            "density": self.density,
            "starting_weights": name,  # name of the run's file for these weights, whether or not it was written
            "stored_weights": state,  # none; whole; shared: pruned places are in that file; kept: it was missing
        }
        header = {**own, **self.header, **own}
        header = json.loads(json.dumps(header))  # keys become text, tuples lists: as the reader sees it
        header["sha256"] = _checksums(header, tensors)
        write_with(Path(path), lambda temporary: save_file(tensors, temporary, metadata={"lth": json.dumps(header)}))

    @classmethod
    def load(cls, path: str | Path | None, weights: bool = True) -> "Ticket":
        """Read a ticket file.

        weights: False reads header and masks alone

        The starting weights of pruned places may lie in a file of the run, which is looked for in the ticket's folder
        and in the one above; where it is not there, the ticket is not `complete`.

        Raises FileNotFoundError for a missing file. Raises ValueError with one line of text if `path` is None (the
        key `ticket` is not set), for another kind of file and for a damaged one. Checksums cover the whole content.
        """
        if path is None:
            raise ValueError(
                "this method uses a ticket: give ticket=PATH of a ticket.safetensors, such as "
                "`lth run method=imp` leaves in the folder of every level"
            )
        if not Path(path).is_file():
            inside = sorted(Path(path).glob("**/ticket.safetensors"))[-1:]
            raise FileNotFoundError(f"no ticket at {path}" + (f"; there is {inside[0]}" if inside else ""))
        try:
            with safe_open(str(path), framework="pt") as file:
                header = _header(file.metadata(), path)
                keys = [key for key in list(file.keys()) if weights or key.startswith("mask/")]
                tensors = {key: file.get_tensor(key) for key in keys}
        except SafetensorError as error:
            raise ValueError(f"{path} is not a ticket: {error}") from None
        try:
            return cls._checked(path, header, tensors, weights)
        except (KeyError, TypeError, AttributeError, RecursionError, OverflowError, MemoryError) as error:
            raise ValueError(f"{path} is damaged: {type(error).__name__}: {error}") from None

    @staticmethod
    def remove_unneeded(run: Path) -> None:
        """Remove the files of starting weights in a run's folder that no ticket of its levels needs."""
        remove_unneeded(run)

    @classmethod
    def _checked(cls, path: str | Path, header: dict[str, Any], tensors: Mapping[str, Tensor], whole: bool) -> "Ticket":
        """The ticket of a file's content. Raises ValueError where a checksum or a size does not fit."""
        found = _checksums(header, tensors)
        parts = found if whole else ("header", "masks")
        damaged = [part for part in parts if found[part] != header["sha256"].get(part)]
        if damaged:
            raise ValueError(f"{path} is damaged: the checksum of its {' and '.join(damaged)} does not match")
        shapes, name = header.pop("shapes"), str(header.get("starting_weights"))
        needs = header.get("stored_weights") in ("shared", "kept")  # in format 1 there is no such entry
        place = find_shared(path, name) if needs else None
        shared = read_shared(place, name) if place is not None and whole else None
        try:
            masks = {name: unpack(tensors[f"mask/{name}"], shape) for name, shape in shapes.items()}
            weights = to_weights(tensors, masks, shared)
        except ValueError as error:
            raise ValueError(f"{path} is damaged: {error}") from None
        return cls(masks, weights, header, name if needs and place is None else "")


def _known(name: str | None, run: Path, path: Path) -> bool:
    """Whether a ticket of another level of a run begins with the weights that `name` stands for."""
    return any(header and header.get("starting_weights") == name for other, header in headers(run) if other != path)


def _checksums(header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """SHA-256 of a ticket file's header (without the checksums), of its masks and of its weights."""
    text = json.dumps({key: value for key, value in header.items() if key != "sha256"}, sort_keys=True)
    masks = {key: tensor for key, tensor in tensors.items() if key.startswith("mask/")}
    rest = {key: tensor for key, tensor in tensors.items() if key not in masks}
    return {
        "header": sha256(text.encode()).hexdigest(),
        "masks": fingerprint(masks),
        "weights": fingerprint(rest),
    }


def _header(metadata: dict[str, str] | None, path: str | Path) -> dict[str, Any]:
    try:
        header = json.loads((metadata or {})["lth"])
    except (KeyError, ValueError, RecursionError):
        header = None
    if not isinstance(header, dict):
        raise ValueError(f"{path} is a safetensors file, but not a ticket: it has no lth header")
    if header.get("format") not in _FORMATS:
        raise ValueError(f"{path} has ticket format {header.get('format')!r}; this version reads {', '.join(_FORMATS)}")
    if not isinstance(header.get("sha256"), dict):
        raise ValueError(f"{path} is damaged: its header has no checksums")
    return header
