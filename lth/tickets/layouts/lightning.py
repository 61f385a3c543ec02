"""Lightning checkpoints: of lth's levels, and of modules pruned by torch.nn.utils.prune."""

from pathlib import Path

from lth.tickets.formats._assemble import assemble, masked, starting
from lth.tickets.ticket import Ticket


def read(source: Path, weights: Path | None = None, prefix: str | None = None) -> Ticket:
    """Masks and weights of a `.ckpt`.

    weights: without them the ticket starts from the trained weights of the checkpoint
    prefix: the LightningModule's attribute that holds the network, with a dot, e.g. `backbone.`
    """
    content, masks = masked(source, prefix)
    return assemble("lightning", masks, starting(weights, content, prefix), source, trained=content.trained or None)
