"""`extract`, `import`, `apply` and `treat`: making tickets, and what follows from them."""

from argparse import Namespace
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from lth.cli.output import console
from lth.networks.from_config import build, described
from lth.tickets import Ticket, treatments
from lth.tickets.formats.content import read, source_of
from lth.tickets.formats.extract import extract
from lth.tickets.formats.scope import complete
from lth.tickets.layouts import LAYOUTS


def extract_ticket(arguments: Namespace) -> None:
    """Masks of the trained checkpoint on the initial weights."""
    ticket = extract(
        read(arguments.initial, arguments.prefix),
        read(arguments.trained, arguments.prefix),
        arguments.allow_zeros,
        arguments.include,
        arguments.exclude,
        arguments.rewind_step,
        arguments.form,
    )
    _save(_with_network(ticket, arguments.network), arguments.out)


def import_ticket(arguments: Namespace) -> None:
    """A ticket from another program's files."""
    reader = LAYOUTS[arguments.layout].read
    given = {name: getattr(arguments, name) for name in ("weights", "algorithm", "density", "prefix", "form")}
    given = {name: value for name, value in given.items() if value is not None}
    given |= {"allow_zeros": True} if arguments.allow_zeros else {}
    valid = list(signature(reader).parameters)[1:]
    wrong = [name for name in given if name not in valid]
    if wrong:
        raise ValueError(f"--from {arguments.layout} has no option {wrong}; it has {valid}")
    _save(_with_network(reader(arguments.source, **given), arguments.network), arguments.out)


def apply_ticket(arguments: Namespace) -> None:
    """A checkpoint's weights under the ticket's masks: pruned ones exactly zero, plain names, nothing else."""
    ticket, content = Ticket.load(arguments.ticket), read(arguments.checkpoint, arguments.prefix)
    masks = complete(ticket.masks, content.weights, list(ticket.masks))
    state = {n: torch.where(masks[n], w, 0) if n in masks else w for n, w in content.weights.items()}
    write_state(state, arguments.out)
    console().print(f"{ticket.kept:,} of {ticket.total:,} weights kept, the rest zero: {arguments.out}")


def treat_ticket(arguments: Namespace) -> None:
    """A control: the ticket under a treatment, as a ticket of its own."""
    ticket = Ticket.load(arguments.ticket)
    description = described(ticket.header, arguments.network)

    def draw(seed: int) -> nn.Module:
        assert description is not None
        return build(description, seed)

    scores = None
    if arguments.scores is not None:
        scores = {n: w.abs() for n, w in read(arguments.scores).weights.items()}
    masks, weights = treatments.TREATMENTS[arguments.treatment](
        ticket.masks, ticket.weights, draw if description else None, arguments.seed, scores
    )
    changed = {
        "treatment": arguments.treatment,
        "treatment_seed": arguments.seed,
        "parent": source_of(arguments.ticket),
    }
    _save(Ticket(masks, weights, {**ticket.header, **changed}), arguments.out)


def write_state(state: dict[str, Tensor], path: Path) -> None:
    """A plain state dict: safetensors for `.safetensors`, torch.save for anything else."""
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = {n: w.detach().cpu().contiguous().clone() for n, w in state.items()}
    if path.suffix == ".safetensors":
        save_file(whole, path, metadata={"format": "pt"})
    else:
        torch.save(whole, path)


def _with_network(ticket: Ticket, file: Path | None) -> Ticket:
    """The ticket, checked against the network a file describes, which its header then names."""
    if file is None:
        return ticket
    description: dict[str, Any] = described({}, file) or {}
    state = build(description).state_dict()
    differing = [
        n
        for n in dict.fromkeys([*state, *ticket.weights])
        if n not in state or n not in ticket.weights or state[n].shape != ticket.weights[n].shape
    ]
    if differing:
        raise ValueError(f"the weights do not fit {description['_target_']}: names or shapes differ at {differing}")
    return Ticket(ticket.masks, ticket.weights, {**ticket.header, "network": description})


def _save(ticket: Ticket, path: Path) -> None:
    ticket.save(path)
    console().print(f"{path}: {ticket.kept:,} of {ticket.total:,} weights kept, density {ticket.density:.4g}")
