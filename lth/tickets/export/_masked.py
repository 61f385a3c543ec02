"""The masked network of a ticket: its starting weights, with pruned weights exactly zero."""

from copy import deepcopy

import torch
from torch import Tensor, nn

from lth.pruning.masks import masked
from lth.tickets.ticket import Ticket


def masked_net(ticket: Ticket, net: nn.Module) -> nn.Module:
    """A copy of `net` with the ticket's masked state, in evaluation mode. Raises ValueError if it does not fit."""
    copy = deepcopy(net)
    try:
        copy.load_state_dict(masked(ticket.weights, ticket.masks))
    except RuntimeError as error:
        raise ValueError(f"the ticket does not fit {type(net).__name__}: {' '.join(str(error).split())}") from None
    return copy.eval()


def images(image_shape: tuple[int, int, int], n: int, net: nn.Module, seed: int = 0) -> Tensor:
    """`n` random images (n, C, H, W) in the network's precision, to compare outputs on."""
    drawn = torch.randn(n, *image_shape, generator=torch.Generator().manual_seed(seed))
    return drawn.to(next(net.parameters()).dtype)


def check_equal(what: str, expected: Tensor, found: Tensor, tolerance: float = 1e-4) -> float:
    """The largest difference of two outputs, relative to the largest output.

    what: name of the file, for the message

    Raises ValueError if the difference exceeds `tolerance`.
    """
    difference = float((expected - found).abs().max() / expected.abs().max().clamp_min(1e-12))
    if not difference <= tolerance:
        raise ValueError(f"{what} does not compute the outputs of the masked network: they differ by {difference:.2g}")
    return difference
