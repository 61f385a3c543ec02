"""`lth ticket extract`, `import`, `treat` and `apply`: tickets from other files, and weights from tickets."""

from argparse import Namespace
from inspect import signature
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor, nn

from lth.cli.ticket._options import Commands, add_command, add_network, add_out, add_prefix
from lth.networks.from_config import build, described
from lth.pruning.masks import masked
from lth.report.output import console
from lth.storage.atomic import write_torch, write_with
from lth.tickets import Ticket, treatments
from lth.tickets.formats.content import read, source_of
from lth.tickets.formats.extract import FORMS, extract
from lth.tickets.formats.scope import complete
from lth.tickets.layouts import LAYOUTS


def add_commands(commands: Commands) -> None:
    """Add `extract`, `import`, `treat` and `apply` to the parser of `lth ticket`."""
    _add_extract(commands)
    _add_import(commands)
    treat = add_command(commands, "treat", _treat, "a control: the ticket re-initialised, shuffled, inverted, ...")
    treat.add_argument("ticket", type=Path)
    treat.add_argument("--treatment", required=True, choices=list(treatments.TREATMENTS))
    treat.add_argument("--seed", type=int, default=0, help="seed of the treatment's random draws (0)")
    text = "checkpoint whose weight magnitudes are the scores of invert and permute_scores"
    treat.add_argument("--scores", type=Path, metavar="CHECKPOINT", help=text)
    add_network(treat)
    add_out(treat)
    apply = add_command(commands, "apply", _apply, "a checkpoint's weights under the ticket's masks")
    apply.add_argument("ticket", type=Path)
    apply.add_argument("checkpoint", type=Path)
    add_prefix(apply)
    add_out(apply, "state dict to write: .safetensors, or torch.save for any other name")


def _add_extract(commands: Commands) -> None:
    extract = add_command(commands, "extract", _extract, "masks of a trained checkpoint on the untrained weights")
    extract.add_argument("--initial", type=Path, required=True, help="untrained checkpoint, state dict or ticket")
    extract.add_argument("--trained", type=Path, required=True, help="pruned checkpoint")
    extract.add_argument("--allow-zeros", action="store_true", help="treat zeros as pruned if no masks are stored")
    extract.add_argument(
        "--include", nargs="+", default=["*"], metavar="GLOB", help="names of the prunable weights (default: all)"
    )
    extract.add_argument("--exclude", nargs="+", default=[], metavar="GLOB", help="exceptions from --include")
    text = "steps that the initial weights were trained for; without it, trained ones are refused"
    extract.add_argument("--rewind-step", type=int, metavar="STEP", help=text)
    extract.add_argument("--form", choices=FORMS, default="masked", help="of a thinned network: full or small shapes")
    for add in (add_prefix, add_network, add_out):
        add(extract)


def _add_import(commands: Commands) -> None:
    load = add_command(commands, "import", _import, "a ticket from another program's files")
    load.add_argument("source", type=Path, help="file or folder that holds the masks")
    load.add_argument("--from", dest="layout", required=True, choices=list(LAYOUTS), help="the program")
    load.add_argument("--weights", type=Path, help="file of the starting weights, if SOURCE does not hold them")
    load.add_argument("--algorithm", help="rare_gems: which of hc_iter hc ep global_ep smart_ratio")
    load.add_argument("--density", type=float, help="fraction kept, 0..1, where the file does not say")
    load.add_argument("--allow-zeros", action="store_true", help="torch_prune: zeros are pruned (after prune.remove)")
    load.add_argument("--form", choices=FORMS, help="distiller: of a thinned network: full or small shapes")
    for add in (add_prefix, add_network, add_out):
        add(load)


def _extract(arguments: Namespace) -> None:
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


def _import(arguments: Namespace) -> None:
    reader = LAYOUTS[arguments.layout].read
    given = {name: getattr(arguments, name) for name in ("weights", "algorithm", "density", "prefix", "form")}
    given = {name: value for name, value in given.items() if value is not None}
    given |= {"allow_zeros": True} if arguments.allow_zeros else {}
    valid = list(signature(reader).parameters)[1:]
    wrong = [name for name in given if name not in valid]
    if wrong:
        raise ValueError(f"--from {arguments.layout} has no option {wrong}; it has {valid}")
    _save(_with_network(reader(arguments.source, **given), arguments.network), arguments.out)


def _apply(arguments: Namespace) -> None:
    """Write a state dict with plain names: the checkpoint's weights, zero where the ticket prunes."""
    ticket, content = Ticket.load(arguments.ticket, weights=False), read(arguments.checkpoint, arguments.prefix)
    masks = complete(ticket.masks, content.weights, list(ticket.masks))
    write_state(masked(content.weights, masks), arguments.out)
    console().print(f"{ticket.kept:,} of {ticket.total:,} weights kept, the rest zero: {arguments.out}")


def _treat(arguments: Namespace) -> None:
    ticket = Ticket.load(arguments.ticket)
    description = described(ticket.header, arguments.network)

    def draw(seed: int) -> nn.Module:
        assert description is not None
        return build(description, seed)

    scores = None
    if arguments.scores is not None:
        scores = {n: w.abs() for n, w in read(arguments.scores).weights.items()}
    new = treatments.treated(
        treatments.TREATMENTS[arguments.treatment],
        ticket,
        str(arguments.ticket),
        draw=draw if description else None,
        seed=arguments.seed,
        scores=scores,
    )
    changed = {
        "treatment": arguments.treatment,
        "treatment_seed": arguments.seed,
        "parent": source_of(arguments.ticket),
    }
    _save(Ticket(new.masks, new.weights, {**ticket.header, **changed}, new.missing), arguments.out)


def write_state(state: dict[str, Tensor], path: Path) -> None:
    """Write a state dict, atomically: with safetensors for a name in `.safetensors`, else with torch.save."""
    whole = {n: w.detach().cpu().contiguous().clone() for n, w in state.items()}
    if path.suffix == ".safetensors":
        write_with(path, lambda temporary: save_file(whole, temporary, metadata={"format": "pt"}))
    else:
        write_torch(path, whole)


def _with_network(ticket: Ticket, file: Path | None) -> Ticket:
    """The ticket with the network of `file` in its header. Raises ValueError where its weights do not fit."""
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
    return Ticket(ticket.masks, ticket.weights, {**ticket.header, "network": description}, ticket.missing)


def _save(ticket: Ticket, path: Path) -> None:
    ticket.save(path)
    console().print(f"{path}: {ticket.kept:,} of {ticket.total:,} weights kept, density {ticket.density:.4g}")
