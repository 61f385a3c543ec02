"""TurboPrune: dense weights with a float mask beside each; the starting weights have a file of their own."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from lth.tickets.formats._assemble import assemble, masked, starting
from lth.tickets.ticket import Ticket


def read(source: Path, weights: Path | None = None) -> Ticket:
    """Masks of `model_level_<l>.pt`, weights of `model_init.pt` or `model_rewind.pt`.

    The masks stored in the file of the weights belong to another level and are ignored. Linear layers stored as
    convolutions of shape (out, in, 1) become (out, in). Kept weights may be zero.
    """
    content, masks = masked(source)
    return assemble("turboprune", _squeezed(masks), _squeezed(starting(weights, content)), source)


def _squeezed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {n: t.squeeze(2) if t.dim() == 3 and t.shape[2] == 1 else t for n, t in tensors.items()}
