"""An experiment that starts from a ticket file: its masks become the support, its weights the initial weights."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lth.pruning.masks import Masks
from lth.tickets.ticket import Ticket


def masks_of(net: nn.Module, masks: Masks, density: float | None = None, *, path: str | None) -> Masks:
    """`masks`, set in place to the ticket's masks.

    net: unused; part of every support's arguments
    density: None, or the ticket's density
    path: the ticket file

    Raises ValueError without a path, for another density, and if names or shapes do not fit the network.
    """
    ticket = Ticket.load(path, weights=False)
    masks.check_fit({name: mask.shape for name, mask in ticket.masks.items()}, f"the ticket {path}")
    taken = masks.copy_(ticket.masks)
    if density is not None and abs(taken.density - density) > 1 / taken.total:
        raise ValueError(f"support.density={density}, but the ticket {path} has {taken.density}; leave it null")
    return taken


@torch.no_grad()
def weights_of(net: nn.Module, masks: Masks, seed: int = 0, *, path: str | None) -> str:
    """Copy the ticket's weights and batch-norm statistics into `net`, in place.

    masks: masks under which the weights are trained
    seed: unused; part of the arguments of every initialisation
    path: the ticket file

    Returns the name of the file that holds the weights of the ticket's pruned places, if it was not found; else "".
    Raises ValueError without a path, if names or shapes do not fit the network, for weights that are NaN, and where
    the masks keep places whose weights the ticket does not have.
    """
    ticket = Ticket.load(path)
    grows = any(bool((masks[n].bool() & ~kept.to(masks[n].device)).any()) for n, kept in _fitting(ticket.masks, masks))
    ticket.check_weights(str(path), "training with other masks than the ticket's" if grows else "")
    weights, state = ticket.weights, net.state_dict()
    wrong = [name for name in weights if name not in state or state[name].shape != weights[name].shape]
    missing = [name for name in state if name not in weights]
    if wrong or missing:
        made_with = [
            f"model.{k}={str(v).lower()}" for k, v in ticket.header.get("network", {}).items() if isinstance(v, bool)
        ]
        raise ValueError(
            f"the weights of the ticket {path} do not fit the network: wrong {wrong}, missing {missing}"
            + ("; the ticket's network has " + " ".join(made_with) if made_with else "")
        )
    if damaged := [name for name, value in weights.items() if bool(value.isnan().any())]:
        raise ValueError(f"these weights of the ticket {path} are not numbers (NaN): {damaged}")
    for name, value in weights.items():
        state[name].copy_(value)
    return ticket.missing


def _fitting(of_ticket: Mapping[str, Tensor], masks: Masks) -> list[tuple[str, Tensor]]:
    """The ticket's masks that fit others by name and shape."""
    return [(name, kept) for name, kept in of_ticket.items() if name in masks and masks[name].shape == kept.shape]
