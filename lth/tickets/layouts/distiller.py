"""Distiller: a checkpoint whose pruning schedule holds the masks, with DataParallel's names."""

from pathlib import Path

from lth.storage.atomic import write_torch
from lth.tickets.formats._assemble import assemble, masked
from lth.tickets.formats.content import read as read_content
from lth.tickets.formats.extract import extract
from lth.tickets.ticket import Ticket


def read(source: Path, weights: Path | None = None, form: str = "masked") -> Ticket:
    """Masks of `compression_sched.masks_dict`; for a thinned checkpoint, restored by its recipes.

    weights: the untrained checkpoint; without it the ticket starts from the trained weights, and thinned checkpoints
        are refused
    form: see `extract`
    """
    content, masks = masked(source)
    if weights is not None:
        found = extract(read_content(weights), content, form=form)
        found.header |= {
            "method": "import from distiller",
            "import": {"from": "distiller", "weights": Path(weights).name},
        }
        return found
    if content.recipes:
        raise ValueError(f"{source} was thinned: give the untrained checkpoint it was made from")
    return assemble("distiller", masks, content.weights, source, trained=content.trained or None)


def write(ticket: Ticket, path: Path) -> None:
    """A checkpoint of the starting weights and `masks_dict`, where parameters without a mask are None."""
    state = {f"module.{name}": weight for name, weight in ticket.weights.items()}
    masks = {f"module.{n}": ticket.masks[n].float() if n in ticket.masks else None for n in ticket.weights}
    write_torch(path, {"epoch": 0, "state_dict": state, "compression_sched": {"masks_dict": masks}})
