"""`lth ticket show` and `compare`: tables of one ticket, and of two."""

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lth.analysis.layers import layer_table
from lth.analysis.similarity import compare
from lth.cli.ticket._options import Commands, add_command, add_network, add_tables
from lth.networks.from_config import build, described, image_shape
from lth.pruning.masks import Masks
from lth.report.output import console, print_table, write_csv
from lth.tickets import Ticket
from lth.tickets.formats.content import Content, read
from lth.tickets.formats.scope import complete

_LAYERS = {
    "layer": "layer",
    "shape": "shape",
    "kept": "kept",
    "density": "density",
    "effective": "on a path",
    "dead_outputs": "dead outputs",
    "dead_inputs": "dead inputs",
    "macs": "mult-adds",
    "macs_kept": "of kept",
}
_NOT_PROVENANCE = ("format", "sha256", "kept", "prunable", "density", "starting_weights", "stored_weights")
_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


def add_commands(commands: Commands) -> None:
    """Add `show` and `compare` to the parser of `lth ticket`."""
    text = "totals, layers (shape, kept, density, multiply-adds) and provenance of a ticket"
    show = add_command(commands, "show", _show, text)
    show.add_argument("ticket", type=Path)
    add_tables(show, "layers.csv")
    add_network(show)
    text = "overlap of masks, agreement of signs and R_p of two tickets or checkpoints, per layer"
    comparison = add_command(commands, "compare", _compare, text)
    comparison.add_argument("a", type=Path, help="a ticket or a checkpoint")
    comparison.add_argument("b", type=Path, help="another")
    text = "R_p is the share of the largest p of each layer's weights that both have in common (0.1 0.2 0.5)"
    comparison.add_argument("--p", type=float, nargs="+", default=[0.1, 0.2, 0.5], help=text)
    add_tables(comparison, "overlap.csv")


def _show(arguments: Namespace) -> None:
    screen, ticket = console(), Ticket.load(arguments.ticket)
    description, why_none = _network_of(ticket, arguments.network)
    net, shape = build(description) if description else None, None
    if description:
        try:
            shape = image_shape(description)
        except ValueError as error:
            why_none = str(error)
    rows = _ticket_table(ticket, net, shape)
    found = _ticket_totals(ticket, net)
    screen.print(
        f"{arguments.ticket}\n{found['kept']:,} of {found['prunable']:,} prunable weights kept: density "
        f"{found['density']:.4g}; {found['nonzero_parameters']:,} of all {found['parameters']:,} parameters: "
        f"{found['density_of_all']:.4g}\n",
        soft_wrap=True,
    )
    print_table(screen, [*rows, _sum(rows)], _LAYERS)
    if shape is None:
        screen.print(f"\nwithout multiply-adds: {why_none}", markup=False, soft_wrap=True)
    screen.print()
    for key, value in _dotted({k: v for k, v in ticket.header.items() if k not in _NOT_PROVENANCE}).items():
        screen.print(f"{key}: {value}", markup=False, soft_wrap=True)
    if ticket.missing:
        screen.print(
            f"the weights of pruned places are missing: there is no {ticket.missing} here", markup=False, soft_wrap=True
        )
    if arguments.out:
        write_csv(arguments.out / "layers.csv", rows)


def _ticket_table(
    ticket: Ticket, net: nn.Module | None = None, image_shape: tuple[int, int, int] | None = None
) -> list[dict[str, Any]]:
    """The layer table of a ticket. Without `net` and `image_shape`, effective weights and multiply-adds are None.

    Raises ValueError if the ticket's masks do not fit `net`.
    """
    masks = Masks({name: mask.float() for name, mask in ticket.masks.items()})
    if net is not None and image_shape is not None:
        masks.weights(net)  # checks names and shapes
        return layer_table(net, masks, image_shape)
    return layer_table(net or nn.Module(), masks, None)


def _ticket_totals(ticket: Ticket, net: nn.Module | None = None) -> dict[str, Any]:
    """The number of kept weights and the density of a ticket, among prunable weights and among all parameters.

    Parameters without a mask count as kept.

    net: the ticket's network; None = all stored tensors except batch-norm statistics count as parameters
    """
    if net is not None:
        parameters = sum(p.numel() for p in net.parameters())
    else:
        parameters = sum(w.numel() for n, w in ticket.weights.items() if n.rpartition(".")[2] not in _BUFFERS)
    nonzero = parameters - ticket.total + ticket.kept
    return {
        "kept": ticket.kept,
        "prunable": ticket.total,
        "density": ticket.density,
        "parameters": parameters,
        "nonzero_parameters": nonzero,
        "density_of_all": nonzero / parameters,
    }


def _network_of(ticket: Ticket, file: Path | None) -> tuple[dict[str, Any] | None, str]:
    """The configuration of the ticket's network or None, and a sentence to print where it is None."""
    try:
        return described(ticket.header, file), "the ticket names no network; give it with --network FILE"
    except ValueError as error:
        if file is not None:
            raise
        return None, str(error)


def _compare(arguments: Namespace) -> None:
    a, b = read(arguments.a), read(arguments.b)
    names = list(a.masks or b.masks or {})
    if not names:
        raise ValueError(f"neither {arguments.a} nor {arguments.b} stores masks: there is nothing to compare")
    masks_a, masks_b = _masks_of(a, names), _masks_of(b, names)
    rows = compare(masks_a, a.weights, masks_b, b.weights, arguments.p)
    headings = {
        "layer": "layer",
        "kept_a": "kept A",
        "kept_b": "kept B",
        "both": "both",
        "jaccard": "Jaccard",
        "by_chance": "by chance",
        "same_sign": "same sign",
        **{f"R_{p:g}": f"R_{p:g}" for p in arguments.p},
    }
    screen = console()
    screen.print(f"A {arguments.a}\nB {arguments.b}\n", soft_wrap=True)
    print_table(screen, rows, headings)
    if arguments.out:
        write_csv(arguments.out / "overlap.csv", rows)


def _masks_of(content: Content, names: list[str]) -> dict[str, torch.Tensor]:
    """Masks of the weights `names`: those stored, or ones for a file without masks, which is a dense network."""
    missing = [name for name in names if name not in content.weights]
    if missing:
        raise ValueError(f"{content.source['file']} has no weights called {missing}")
    return complete(content.masks if content.masks is not None else {}, content.weights, names)


def _sum(rows: list[dict[str, Any]]) -> dict[str, Any]:
    columns = ("kept", "effective", "dead_outputs", "dead_inputs", "macs", "macs_kept")
    known = {c: [row[c] for row in rows if row[c] is not None] for c in columns}
    total = {c: sum(values) if values else None for c, values in known.items()}
    return {"layer": "total", "shape": "", **total, "density": total["kept"] / sum(row["total"] for row in rows)}


def _dotted(header: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested provenance with dotted keys: {"seeds": {"init": 0}} becomes seeds.init."""
    found: dict[str, Any] = {}
    for key, value in header.items():
        name = f"{prefix}{key}"
        found |= _dotted(value, f"{name}.") if isinstance(value, Mapping) and value else {name: value}
    return found
