"""Starting an experiment from a ticket file: its masks as the support, its weights as the initial ones."""

import torch
from torch import nn

from lth.pruning.masks import Masks
from lth.tickets.ticket import Ticket


def masks_of(net: nn.Module, masks: Masks, density: float | None = None, *, path: str | None) -> Masks:
    """Exactly the ticket's masks. Raises ValueError where names or shapes do not fit the network."""
    if path is None:
        raise ValueError("this starts from a ticket: give ticket=PATH")
    ticket = Ticket.load(path)
    masks.check_fit({name: mask.shape for name, mask in ticket.masks.items()}, f"the ticket {path}")
    taken = masks.copy_(ticket.masks)
    if density is not None and abs(taken.density - density) > 1 / taken.total:
        raise ValueError(f"support.density={density}, but the ticket {path} has {taken.density}; leave it null")
    return taken


@torch.no_grad()
def weights_of(net: nn.Module, masks: Masks, seed: int = 0, *, path: str | None) -> None:
    """Put the ticket's starting weights (and batch-norm statistics) into `net`, in place."""
    if path is None:
        raise ValueError("these weights are a ticket's: give ticket=PATH")
    weights, state = Ticket.load(path).weights, net.state_dict()
    wrong = [name for name in weights if name not in state or state[name].shape != weights[name].shape]
    missing = [name for name in state if name not in weights]
    if wrong or missing:
        raise ValueError(f"the weights of the ticket {path} do not fit the network: wrong {wrong}, missing {missing}")
    for name, value in weights.items():
        state[name].copy_(value)
