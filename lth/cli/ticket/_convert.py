"""`lth ticket export` and `thin`: a ticket in the form of other programs, and as a smaller network."""

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lth.analysis.layers import uses_per_image
from lth.cli.ticket._create import write_state
from lth.cli.ticket._options import Commands, add_command, add_network, add_out, add_prefix
from lth.networks.from_config import build, described, image_shape
from lth.pruning import Masks
from lth.pruning.masks import masked
from lth.pruning.structured.attached import Attached
from lth.pruning.structured.thin import thin
from lth.report.output import console, print_table
from lth.storage.folder import RunFolder
from lth.tickets import Ticket
from lth.tickets.export import csr, onnx, program
from lth.tickets.formats.content import Content, read
from lth.tickets.formats.scope import complete
from lth.tickets.layouts import LAYOUTS
from lth.tickets.thinned import ThinnedFile

_EXCHANGE = [name for name, layout in LAYOUTS.items() if hasattr(layout, "write")]
_NETWORKS: dict[str, Any] = {"torch_export": program, "onnx": onnx, "csr": csr}  # formats that need the network itself
_OF_EITHER = ["state_dict", "safetensors", *_NETWORKS]  # formats of starting weights and of trained ones
_FORMATS = ["state_dict", "safetensors", *_NETWORKS, "masks", *_EXCHANGE]
_HEADINGS = {"what": "", "before": "before", "after": "after", "share": "share"}


def add_commands(commands: Commands) -> None:
    """Add `export` and `thin` to the parser of `lth ticket`."""
    export = add_command(commands, "export", _export, "a ticket or a trained network in the form of another program")
    text = "a ticket, with its starting weights; or a level's or run's folder, with the weights at the end of training"
    export.add_argument("ticket", type=Path, metavar="TICKET|FOLDER", help=text)
    form = export.add_mutually_exclusive_group(required=True)
    form.add_argument("--format", choices=_FORMATS)
    text = "write a ticket with all starting weights, which needs no other file of its run"
    form.add_argument("--complete", action="store_true", help=text)
    export.add_argument("--batch", type=int, default=1, help="csr: images per batch in the speed measurement (1)")
    export.add_argument("--threads", type=int, help="csr: torch threads in the speed measurement (default: torch's)")
    add_network(export)
    add_out(export, "the file (open_lth: folder) to write")
    thin = add_command(commands, "thin", _thin, "a smaller network without the units that the masks remove")
    thin.add_argument("source", type=Path, help="a ticket, or a checkpoint of a pruned network")
    add_prefix(thin)
    add_network(thin)
    text = "the thinned file to write"
    thin.add_argument("--out", "--output", dest="out", type=Path, required=True, metavar="FILE", help=text)


def _export(arguments: Namespace) -> None:
    path, kind = arguments.out, arguments.format
    ticket, weights = _source(arguments.ticket, _needs_all(arguments))
    if kind != "masks":
        ticket.check_weights(arguments.ticket, _needs_all(arguments))
    path.parent.mkdir(parents=True, exist_ok=True)
    if arguments.complete:
        ticket.save(path)
        written = "a ticket with all starting weights"
    elif kind in _NETWORKS:
        written = _of_network(ticket, path, kind, arguments)
    elif kind in _EXCHANGE:
        LAYOUTS[kind].write(ticket, path)
        written = f"masks and unmasked starting weights, as {kind} writes them"
    elif kind == "masks":
        Ticket(ticket.masks, {}, ticket.header).save(path)
        written = "a ticket of masks alone, 1 bit per weight"
    else:
        written = _state(ticket, path, kind)
    console().print(f"{path}: {written}{weights if kind in _OF_EITHER else ''}", soft_wrap=True)


def _source(path: Path, of_tickets: str) -> tuple[Ticket, str]:
    """A ticket with its starting weights or, for a folder, a level's trained weights; and a text that says which.

    of_tickets: the option that takes ticket files only; empty if a folder is allowed
    """
    if not path.is_dir():
        return Ticket.load(path), "; these are starting weights: give the level's folder for the trained ones"
    if of_tickets:
        raise ValueError(f"{of_tickets} writes starting weights: give a ticket.safetensors, not the folder {path}")
    from lth.experiment.load import load_level  # a late import: it loads Lightning, which takes seconds

    level = load_level(path)
    header = Ticket.load(level.folder / "ticket.safetensors", weights=False).header
    ticket = Ticket(level.masks.bools(), level.net.state_dict(), header)
    return ticket, f"; trained weights of level {level.row['level']}"


def _needs_all(arguments: Namespace) -> str:
    """The option that needs the starting weights of pruned places too; empty if kept ones are enough."""
    if arguments.complete:
        return "--complete"
    return f"--format {arguments.format}" if arguments.format in _EXCHANGE else ""


def _state(ticket: Ticket, path: Path, kind: str) -> str:
    if (kind == "safetensors") != (path.suffix == ".safetensors"):
        raise ValueError(f"--format {kind} does not fit {path.name}: only safetensors files end in .safetensors")
    write_state(masked(ticket.weights, ticket.masks), path)
    return "plain state dict, pruned weights zero"


def _of_network(ticket: Ticket, path: Path, kind: str, arguments: Namespace) -> str:
    description = described(ticket.header, arguments.network)
    if description is None:
        raise ValueError(f"--format {kind} needs the network, which this ticket does not name: give --network FILE")
    net: nn.Module = build(description)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    inputs = _inputs(arguments.ticket)
    options: dict[str, Any] = {"csr": {"batch": arguments.batch}, "onnx": {"inputs": inputs}}.get(kind, {})
    written = _NETWORKS[kind].write(ticket, path, net, image_shape(description), **options)
    return f"{written}; images: {inputs}" if inputs else written


def _inputs(path: Path) -> str:
    """How a ticket's run computed its inputs from pixels, as text; empty if `path` is not in the folder of a run."""
    run = next((folder for folder in (path, *path.parents[:2]) if (folder / "config.yaml").is_file()), None)
    dataset = RunFolder(run).configuration().get("dataset", {}) if run else {}
    if not {"scale", "mean", "std"} <= dataset.keys():
        return ""
    given = dataset["mean"] is not None and not dataset.get("standardise")
    how = f"minus {dataset['mean']}, over {dataset['std']}" if given else "standardised by the training images"
    return f"pixels / {dataset['scale']}, {how}"


def _thin(arguments: Namespace) -> None:
    """Write the network without the units that the masks remove, and print what became smaller."""
    path, content = arguments.source, read(arguments.source, arguments.prefix)
    if content.masks is None:
        raise ValueError(f"{path} stores no masks: there is nothing to cut out")
    if content.recipes:
        raise ValueError(f"{path} is thinned already")
    description = described(content.header, arguments.network)
    if description is None:
        raise ValueError(f"{path} does not say what network it is: give --network FILE")
    net, shape = build(description), image_shape(description)
    masks = _fill_(net, content, shape, start=bool(content.header))
    small = thin(net, masks, shape)
    header = {"network": description, "parent": dict(content.source), "difference": small.difference}
    ThinnedFile(small.net.state_dict(), small.masks, small.kept, header).save(arguments.out)
    _print_sizes(net, small.net, masks, small.masks, shape)
    console().print(
        f"outputs differ by at most {small.difference:.1g} of the largest output\n"
        f"{arguments.out}: {arguments.out.stat().st_size:,} bytes, masks and indices included",
        soft_wrap=True,
    )


@torch.no_grad()
def _fill_(net: nn.Module, content: Content, shape: tuple[int, int, int], start: bool) -> Masks:
    """Copy the content's weights into `net`, pruned ones as zeros; returns the masks.

    shape: channels, height and width of one image
    start: True for a ticket's weights, with which training begins; then biases and batch norms of removed outputs
        are pruned too
    """
    try:
        net.load_state_dict(dict(content.weights))
    except RuntimeError as error:
        raise ValueError(f"the weights do not fit the network: {' '.join(str(error).split())}") from None
    given: Mapping[str, Tensor] = complete(content.masks or {}, content.weights)
    masks = Masks({name: mask.float() for name, mask in given.items()})
    masks.apply_(net)
    if start:
        attached = Attached.find(net, masks, shape)
        attached.update_(masks)
        for name, parameter in attached.parameters.items():
            parameter.mul_(attached.masks[name])
    return masks


def _multiply_adds(net: nn.Module, shape: tuple[int, int, int]) -> int:
    """Multiply-adds of one image of `shape`, biases ignored."""
    named = dict(net.named_parameters())
    return sum(named[name].numel() * times for name, times in uses_per_image(net, shape).items())


def _print_sizes(
    net: nn.Module, small: nn.Module, masks: Masks, kept: Mapping[str, Tensor], shape: tuple[int, int, int]
) -> None:
    """Print sizes before and after. kept: masks of the smaller network."""
    counts: dict[str, tuple[int, int]] = {
        "parameters": (_parameters(net), _parameters(small)),
        "prunable weights": (masks.total, sum(mask.numel() for mask in kept.values())),
        "kept weights": (masks.kept, sum(int(torch.count_nonzero(mask)) for mask in kept.values())),
        "multiply-adds": (_multiply_adds(net, shape), _multiply_adds(small, shape)),
        "bytes of weights": (_bytes(net), _bytes(small)),
    }
    rows: list[dict[str, Any]] = [
        {"what": what, "before": before, "after": after, "share": after / before}
        for what, (before, after) in counts.items()
    ]
    print_table(console(), rows, _HEADINGS)


def _parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def _bytes(net: nn.Module) -> int:
    return sum(t.numel() * t.element_size() for t in net.state_dict().values())
