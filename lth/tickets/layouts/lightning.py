"""Lightning checkpoints: those of lth's own levels, and those of modules pruned by torch.nn.utils.prune."""

from pathlib import Path

from lth.tickets.formats._assemble import assemble, masked, starting
from lth.tickets.ticket import Ticket


def read(source: Path, weights: Path | None = None, prefix: str | None = None) -> Ticket:
    """Masks and weights of a `.ckpt`. prefix: the LightningModule's attribute that holds the network, with its dot.

    Without `weights` the ticket starts from the checkpoint's own, trained ones.
    """
    content, masks = masked(source, prefix)
    return assemble("lightning", masks, starting(weights, content, prefix), source, trained=content.trained or None)
