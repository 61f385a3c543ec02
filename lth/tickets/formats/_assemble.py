"""Steps that the layouts share: read a file that must store masks, choose the weights, make the ticket."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from lth.tickets.formats.content import Content, read, source_of
from lth.tickets.formats.scope import complete
from lth.tickets.ticket import Ticket


def assemble(
    layout: str, masks: Mapping[str, Tensor], weights: Mapping[str, Tensor], source: Path, **options: Any
) -> Ticket:
    """A ticket of masks and weights that fit each other.

    layout: name of the program the files come from
    source: the file that holds the masks; its name and hash go into the header
    options: how the source was read, for the header; None is left out

    Raises ValueError as `complete` does.
    """
    kept = {name: value for name, value in options.items() if value is not None}
    header = {"method": f"import from {layout}", "parent": source_of(source), "import": {"from": layout, **kept}}
    return Ticket(complete(masks, weights), {n: w.clone() for n, w in weights.items()}, header)


def masked(source: Path, prefix: str | None = None) -> tuple[Content, Mapping[str, Tensor]]:
    """Content and masks of a file. Raises ValueError if it stores no masks."""
    content = read(source, prefix)
    if content.masks is None:
        raise ValueError(f"{source} stores no masks")
    return content, content.masks


def starting(weights: Path | None, otherwise: Content, prefix: str | None = None) -> Mapping[str, Tensor]:
    """The weights to start from: those of the file `weights`, or those of `otherwise` if it is None."""
    return otherwise.weights if weights is None else read(weights, prefix).weights
