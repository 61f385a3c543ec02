"""`python -m lth.ticket`: look at tickets, make them, exchange them with other programs."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from lth.cli.ticket.convert import FORMATS, export_ticket
from lth.cli.ticket.create import apply_ticket, extract_ticket, import_ticket, treat_ticket
from lth.cli.ticket.remove import thin_ticket
from lth.cli.ticket.show import compare_tickets, show_ticket
from lth.tickets import treatments
from lth.tickets.formats.extract import FORMS
from lth.tickets.layouts import LAYOUTS


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and do what it says; a mistake of the user's is one line and exit code 1."""
    chosen = parser().parse_args(arguments)
    try:
        chosen.run(chosen)
    except (ValueError, FileNotFoundError, IsADirectoryError, PermissionError, ImportError) as error:
        sys.exit(f"error: {error}")


def parser() -> argparse.ArgumentParser:
    """The command line; `--help` of each command lists its options."""
    top = argparse.ArgumentParser(prog="python -m lth.ticket", description=__doc__)
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    _look(commands)
    _make(commands)
    _import(commands)
    _use(commands)
    return top


def _command(commands: argparse._SubParsersAction, name: str, run: Callable, text: str) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=text, description=text)
    command.set_defaults(run=run)
    return command


def _network(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--network", type=Path, metavar="FILE", help="YAML of the network: a run's config.yaml, or _target_ and options"
    )


def _out(command: argparse.ArgumentParser, what: str = "the ticket file to write") -> None:
    command.add_argument("--out", type=Path, required=True, metavar="FILE", help=what)


def _prefix(command: argparse.ArgumentParser) -> None:
    command.add_argument("--prefix", help="under which names the network stands in the checkpoint, e.g. backbone.")


def _look(commands: argparse._SubParsersAction) -> None:
    show = _command(commands, "show", show_ticket, "totals, layers (shape, kept, density, multiply-adds), provenance")
    show.add_argument("ticket", type=Path)
    show.add_argument("--csv", type=Path, metavar="FILE", help="also write the layers there")
    _network(show)
    compare = _command(commands, "compare", compare_tickets, "overlap of masks, agreement of signs and R_p, per layer")
    compare.add_argument("a", type=Path, help="a ticket or a checkpoint")
    compare.add_argument("b", type=Path, help="another")
    compare.add_argument("--p", type=float, nargs="+", default=[0.1, 0.2, 0.5], help="fractions for R_p (0.1 0.2 0.5)")
    compare.add_argument("--csv", type=Path, metavar="FILE", help="also write the rows there")


def _make(commands: argparse._SubParsersAction) -> None:
    extract = _command(commands, "extract", extract_ticket, "masks of a trained checkpoint on the untrained weights")
    extract.add_argument("--initial", type=Path, required=True, help="untrained checkpoint, state dict or ticket")
    extract.add_argument("--trained", type=Path, required=True, help="pruned checkpoint")
    extract.add_argument("--allow-zeros", action="store_true", help="read zeros as pruned where no masks are stored")
    extract.add_argument("--include", nargs="+", default=["*"], metavar="GLOB", help="prunable weights by name")
    extract.add_argument("--exclude", nargs="+", default=[], metavar="GLOB")
    extract.add_argument("--rewind-step", type=int, metavar="STEP", help="the initial weights were trained, on purpose")
    extract.add_argument("--form", choices=FORMS, default="masked", help="what becomes of a thinned network")
    for add in (_prefix, _network, _out):
        add(extract)
    treat = _command(commands, "treat", treat_ticket, "a control: the ticket re-initialised, shuffled, inverted, ...")
    treat.add_argument("ticket", type=Path)
    treat.add_argument("--treatment", required=True, choices=list(treatments.TREATMENTS))
    treat.add_argument("--seed", type=int, default=0)
    treat.add_argument("--scores", type=Path, metavar="CHECKPOINT", help="whose weights' magnitudes are the scores")
    for add in (_network, _out):
        add(treat)


def _import(commands: argparse._SubParsersAction) -> None:
    load = _command(commands, "import", import_ticket, "a ticket from another program's files")
    load.add_argument("source", type=Path, help="file or folder that holds the masks")
    load.add_argument("--from", dest="layout", required=True, choices=list(LAYOUTS))
    load.add_argument("--weights", type=Path, help="file of the weights to start from, where they lie elsewhere")
    load.add_argument("--algorithm", help="rare_gems: which of hc_iter hc ep global_ep smart_ratio")
    load.add_argument("--density", type=float, help="fraction kept, 0..1, where the file does not say")
    load.add_argument("--allow-zeros", action="store_true", help="torch_prune: after prune.remove only zeros are left")
    load.add_argument("--form", choices=FORMS, help="distiller: what becomes of a thinned network")
    for add in (_prefix, _network, _out):
        add(load)


def _use(commands: argparse._SubParsersAction) -> None:
    export = _command(commands, "export", export_ticket, "the ticket for other programs")
    export.add_argument("ticket", type=Path)
    export.add_argument("--format", required=True, choices=FORMATS)
    export.add_argument("--batch", type=int, default=1, help="csr: images at a time when measuring its speed (1)")
    export.add_argument("--threads", type=int, help="csr: of torch, when measuring")
    _network(export)
    _out(export, "the file (open_lth: folder) to write")
    thin = _command(commands, "thin", thin_ticket, "the units that masks removed, cut out: a smaller network")
    thin.add_argument("source", type=Path, help="a ticket, or a checkpoint of a pruned network")
    _prefix(thin)
    _network(thin)
    thin.add_argument(
        "--output", "--out", dest="out", type=Path, required=True, metavar="FILE", help="the thinned file to write"
    )
    apply = _command(commands, "apply", apply_ticket, "a checkpoint's weights under the ticket's masks")
    apply.add_argument("ticket", type=Path)
    apply.add_argument("checkpoint", type=Path)
    _prefix(apply)
    _out(apply, "state dict to write: .safetensors, or torch.save for any other name")
