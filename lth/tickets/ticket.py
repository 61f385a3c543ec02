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
from lth.storage.packing import pack, unpack

FORMAT = "lth-ticket-1"


@dataclass
class Ticket:
    """A subnetwork and its provenance.

    masks: parameter name -> bool tensor of the parameter's shape, True = kept
    weights: the whole unmasked state that training starts from, buffers included
    header: density, network, dataset, seeds, method, level, parent and the like (JSON values)
    """

    masks: Mapping[str, Tensor]
    weights: Mapping[str, Tensor]
    header: dict[str, Any] = field(default_factory=dict)

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

    def save(self, path: str | Path) -> None:
        """Write the file: packed masks (1 bit a weight), weights, JSON header. Atomic: a crash leaves the old file."""
        tensors = {f"mask/{name}": pack(mask) for name, mask in self.masks.items()}
        # a clone of each: safetensors refuses tensors that share memory or are not contiguous
        tensors |= {f"weight/{n}": w.detach().cpu().contiguous().clone() for n, w in self.weights.items()}
        own = {
            "format": FORMAT,
            "sha256": None,
            "shapes": {name: list(m.shape) for name, m in self.masks.items()},
            "kept": self.kept,
            "prunable": self.total,
            "density": self.density,
        }
        header = {**own, **self.header, **own}
        header = json.loads(json.dumps(header))  # keys become text, tuples lists: as the reader sees it
        header["sha256"] = _checksums(header, tensors)
        write_with(Path(path), lambda temporary: save_file(tensors, temporary, metadata={"lth": json.dumps(header)}))

    @classmethod
    def load(cls, path: str | Path | None) -> "Ticket":
        """Read a ticket file.

        Raises FileNotFoundError, and ValueError with one line of text without a path (the key `ticket` is not set), for
        another kind of file and for a damaged one: checksums cover the whole content.
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
                tensors = {key: file.get_tensor(key) for key in list(file.keys())}
        except SafetensorError as error:
            raise ValueError(f"{path} is not a ticket: {error}") from None
        try:
            return cls._checked(path, header, tensors)
        except (KeyError, TypeError, AttributeError, RecursionError, OverflowError, MemoryError) as error:
            raise ValueError(f"{path} is damaged: {type(error).__name__}: {error}") from None

    @classmethod
    def _checked(cls, path: str | Path, header: dict[str, Any], tensors: Mapping[str, Tensor]) -> "Ticket":
        """The ticket of a file's content. Raises ValueError where a checksum or the packed masks do not fit."""
        found = _checksums(header, tensors)
        damaged = [part for part, digest in found.items() if digest != header["sha256"].get(part)]
        if damaged:
            raise ValueError(f"{path} is damaged: the checksum of its {' and '.join(damaged)} does not match")
        shapes = header.pop("shapes")
        try:
            masks = {name: unpack(tensors[f"mask/{name}"], shape) for name, shape in shapes.items()}
        except ValueError as error:
            raise ValueError(f"{path} is damaged: {error}") from None
        weights = {key.removeprefix("weight/"): t for key, t in tensors.items() if key.startswith("weight/")}
        return cls(masks, weights, header)


def has_header(path: str | Path, name: str) -> bool:
    """Whether a safetensors file has the entry `name` in its metadata. The rest of the file is not checked.

    Raises FileNotFoundError.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no file at {path}")
    try:
        with safe_open(str(path), framework="pt") as file:
            return name in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False


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
    if header.get("format") != FORMAT:
        raise ValueError(f"{path} has ticket format {header.get('format')!r}; this version reads {FORMAT!r}")
    if not isinstance(header.get("sha256"), dict):
        raise ValueError(f"{path} is damaged: its header has no checksums")
    return header
