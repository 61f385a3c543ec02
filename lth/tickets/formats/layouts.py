"""Tickets of other programs: each layout is a file here with a `read`, and a `write` where exchange goes both ways.

`read(source, weights, **options) -> Ticket`. source: the file or folder that holds the masks. weights: the file of the
weights to start from, where they lie elsewhere. `write(ticket, path)` writes what the program itself would read.
"""

from lth.tickets.formats import distiller, hidden_networks, lightning, open_lth, rare_gems, torch_prune, turboprune

LAYOUTS = {
    "open_lth": open_lth,
    "turboprune": turboprune,
    "rare_gems": rare_gems,
    "hidden_networks": hidden_networks,
    "distiller": distiller,
    "torch_prune": torch_prune,
    "lightning": lightning,
}

__all__ = ["LAYOUTS"]
