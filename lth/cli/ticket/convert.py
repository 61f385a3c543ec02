"""`export`: a ticket in a form that other programs read."""

from argparse import Namespace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lth.cli.output import console
from lth.cli.ticket.create import write_state
from lth.networks.from_config import build, described, image_shape
from lth.tickets import Ticket
from lth.tickets.export import csr, onnx, program
from lth.tickets.export.masked import masked_state
from lth.tickets.layouts import LAYOUTS

EXCHANGE = [name for name, layout in LAYOUTS.items() if hasattr(layout, "write")]
NETWORKS: dict[str, Any] = {"torch_export": program, "onnx": onnx, "csr": csr}  # these need the network itself
FORMATS = ["state_dict", "safetensors", *NETWORKS, "masks", *EXCHANGE]


def export_ticket(arguments: Namespace) -> None:
    """Write the ticket as `--format` says, and tell what was written."""
    ticket, path, kind = Ticket.load(arguments.ticket), arguments.out, arguments.format
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind in NETWORKS:
        said = _of_network(ticket, path, kind, arguments)
    elif kind in EXCHANGE:
        LAYOUTS[kind].write(ticket, path)
        said = f"masks and unmasked starting weights, as {kind} writes them"
    elif kind == "masks":
        Ticket(ticket.masks, {}, ticket.header).save(path)
        said = "a ticket of masks alone, 1 bit a weight"
    else:
        said = _state(ticket, path, kind)
    console().print(f"{path}: {said}", soft_wrap=True)


def _state(ticket: Ticket, path: Path, kind: str) -> str:
    if (kind == "safetensors") != (path.suffix == ".safetensors"):
        raise ValueError(f"--format {kind} and the name {path.name} contradict each other: safetensors files end so")
    write_state(masked_state(ticket), path)
    return "plain state dict, pruned weights zero"


def _of_network(ticket: Ticket, path: Path, kind: str, arguments: Namespace) -> str:
    description = described(ticket.header, arguments.network)
    if description is None:
        raise ValueError(f"--format {kind} needs the network, which this ticket does not name: give --network FILE")
    net: nn.Module = build(description)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    options = {"batch": arguments.batch} if kind == "csr" else {}
    return NETWORKS[kind].write(ticket, path, net, image_shape(description), **options)
