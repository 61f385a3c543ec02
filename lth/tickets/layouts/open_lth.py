"""open_lth (facebookresearch): the folder of a level, with mask.pth and checkpoints of the model."""

import json
from pathlib import Path

import torch

from lth.storage.atomic import write_text, write_torch
from lth.tickets.formats._assemble import assemble, masked
from lth.tickets.formats._encodings import as_bool
from lth.tickets.formats._names import plain
from lth.tickets.formats._safely import load
from lth.tickets.formats.content import read as read_content
from lth.tickets.ticket import Ticket

_START = "model_ep0_it0.pth"


def read(source: Path, weights: Path | None = None) -> Ticket:
    """A ticket from a folder of open_lth.

    source: the folder, its `mask.pth`, or a `checkpoint.pth` alone
    weights: file of the starting weights; None = `model_ep0_it0.pth` of the folder, or those of the checkpoint

    Raises FileNotFoundError where there are no weights, and ValueError if a `sparsity_report.json` beside the mask
    contradicts it.
    """
    source = Path(source)
    if source.name == "checkpoint.pth":
        content, masks = masked(source)
        return assemble(
            "open_lth", masks, content.weights if weights is None else read_content(weights).weights, source
        )
    folder, file = (source, source / "mask.pth") if source.is_dir() else (source.parent, source)
    masks = {n: as_bool(m, n) for n, m in plain(load(file)).items()}
    _check_report(folder / "sparsity_report.json", masks)
    start = Path(weights) if weights is not None else folder / _START
    if not start.is_file():
        raise FileNotFoundError(f"no weights at {start}: give the file of the weights that the ticket starts from")
    return assemble("open_lth", masks, read_content(start).weights, file, start=start.name)


def write(ticket: Ticket, path: Path) -> None:
    """A folder with `mask.pth`, `sparsity_report.json` and `model_ep0_it0.pth`."""
    path.mkdir(parents=True, exist_ok=True)
    write_torch(path / "mask.pth", {name: mask.int() for name, mask in ticket.masks.items()})
    write_torch(path / _START, dict(ticket.weights))
    report = {"total": float(ticket.total), "unpruned": float(ticket.kept)}
    write_text(path / "sparsity_report.json", json.dumps(report, indent=4))


def _check_report(path: Path, masks: dict[str, torch.Tensor]) -> None:
    if not path.is_file():
        return
    report = json.loads(path.read_text())
    kept, total = sum(int(m.sum()) for m in masks.values()), sum(m.numel() for m in masks.values())
    if (report.get("unpruned"), report.get("total")) != (kept, total):
        raise ValueError(f"{path.name} says {report}, but the mask keeps {kept} of {total}")
