"""`show` and `compare`: looking at tickets."""

from argparse import Namespace
from collections.abc import Mapping
from typing import Any

import torch

from lth.analysis.layers import ticket_table, ticket_totals
from lth.analysis.similarity import compare
from lth.cli.output import console, show, write_csv
from lth.networks.from_config import build, described, image_shape
from lth.tickets import Ticket
from lth.tickets.formats.content import Content, read
from lth.tickets.formats.scope import complete

LAYERS = {
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
NOT_PROVENANCE = ("format", "sha256", "kept", "prunable", "density")


def show_ticket(arguments: Namespace) -> None:
    """Print totals, layers and provenance."""
    screen, ticket = console(), Ticket.load(arguments.ticket)
    description = described(ticket.header, arguments.network)
    net = build(description) if description else None
    rows = ticket_table(ticket, net, image_shape(description) if description else None)
    found = ticket_totals(ticket, net)
    screen.print(
        f"{arguments.ticket}\n{found['kept']:,} of {found['prunable']:,} prunable weights kept: density "
        f"{found['density']:.4g}; {found['nonzero_parameters']:,} of all {found['parameters']:,} parameters: "
        f"{found['density_of_all']:.4g}\n",
        soft_wrap=True,
    )
    show(screen, [*rows, _sum(rows)], LAYERS)
    if net is None:
        screen.print("\nthe ticket names no network: --network FILE adds multiply-adds")
    screen.print()
    for key, value in _dotted({k: v for k, v in ticket.header.items() if k not in NOT_PROVENANCE}).items():
        screen.print(f"{key}: {value}", markup=False, soft_wrap=True)
    if arguments.csv:
        write_csv(arguments.csv, rows)


def compare_tickets(arguments: Namespace) -> None:
    """Print overlap of masks, agreement of signs and R_p, layer by layer."""
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
    show(screen, rows, headings)
    if arguments.csv:
        write_csv(arguments.csv, rows)


def _masks_of(content: Content, names: list[str]) -> dict[str, torch.Tensor]:
    """Its masks; a file without any is a dense network."""
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
    """Nested provenance as dotted keys: {"seeds": {"init": 0}} becomes seeds.init."""
    found: dict[str, Any] = {}
    for key, value in header.items():
        name = f"{prefix}{key}"
        found |= _dotted(value, f"{name}.") if isinstance(value, Mapping) and value else {name: value}
    return found
