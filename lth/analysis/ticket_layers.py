"""What a ticket holds, in numbers: totals, layers, and density over all parameters."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from lth.analysis.layers import layer_table
from lth.pruning.masks import Masks
from lth.pruning.repair import dead_units
from lth.tickets.ticket import Ticket

BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


def totals(ticket: Ticket, net: nn.Module | None = None) -> dict[str, Any]:
    """Kept, prunable and density; the same over all parameters, which counts biases and batch norm as kept.

    Parameters are those of `net`; without it, all tensors but batch norm's statistics.
    """
    if net is not None:
        parameters = sum(p.numel() for p in net.parameters())
    else:
        parameters = sum(w.numel() for n, w in ticket.weights.items() if n.rpartition(".")[2] not in BUFFERS)
    alive = parameters - ticket.total + ticket.kept
    return {
        "kept": ticket.kept,
        "prunable": ticket.total,
        "density": ticket.density,
        "parameters": parameters,
        "nonzero_parameters": alive,
        "density_of_all": alive / parameters,
    }


def layers(
    ticket: Ticket, net: nn.Module | None = None, image_shape: tuple[int, int, int] | None = None
) -> list[dict[str, Any]]:
    """The layer table (`lth.analysis.layers`). Without the network multiply-adds and groups are unknown."""
    masks = Masks({name: mask.float() for name, mask in ticket.masks.items()})
    if net is not None and image_shape is not None:
        masks.weights(net)  # names and shapes are checked before anything is counted
        return layer_table(net, masks, image_shape)
    dead = dead_units(net or nn.Module(), masks)
    return [
        {
            "layer": name,
            "shape": "x".join(map(str, mask.shape)),
            "total": mask.numel(),
            "kept": int(torch.count_nonzero(mask)),
            "density": int(torch.count_nonzero(mask)) / mask.numel(),
            "effective": None,
            "dead_outputs": dead[name][0],
            "dead_inputs": dead[name][1],
            "macs": None,
            "macs_kept": None,
        }
        for name, mask in ticket.masks.items()
    ]


def flat(header: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Provenance as dotted keys: {"seeds": {"init": 0}} becomes seeds.init."""
    found: dict[str, Any] = {}
    for key, value in header.items():
        name = f"{prefix}{key}"
        found |= flat(value, f"{name}.") if isinstance(value, Mapping) and value else {name: value}
    return found
