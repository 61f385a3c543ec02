"""torch.nn.utils.prune and torch.ao.pruning: a state dict of masks and unmasked weights."""

from pathlib import Path

from lth.storage.atomic import write_torch
from lth.tickets.formats._assemble import assemble, starting
from lth.tickets.formats.content import read as read_content
from lth.tickets.formats.scope import from_zeros, scope
from lth.tickets.ticket import Ticket


def read(source: Path, weights: Path | None = None, allow_zeros: bool = False, prefix: str | None = None) -> Ticket:
    """Masks of `<name>_mask`, weights of `<name>_orig`.

    allow_zeros: without masks, as after `prune.remove`, prune the weights that are exactly zero
    prefix: see `lth.tickets.formats.content.read`
    """
    content = read_content(source, prefix)
    masks = content.masks
    if masks is None and not allow_zeros:
        raise ValueError(f"{source} stores no masks; after prune.remove only zeros are left: allow zeros to read them")
    if masks is None:
        masks = from_zeros(content.weights, scope(content.weights))
    return assemble("torch_prune", masks, starting(weights, content, prefix), source, zeros=allow_zeros or None)


def write(ticket: Ticket, path: Path) -> None:
    """A state dict for a network on whose layers `prune.custom_from_mask` was called."""
    state = {f"{n}_orig" if n in ticket.masks else n: w for n, w in ticket.weights.items()}
    masks = {f"{n}_mask": m.to(ticket.weights[n].dtype) for n, m in ticket.masks.items()}
    write_torch(path, {**state, **masks})
