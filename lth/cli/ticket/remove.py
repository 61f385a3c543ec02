"""`thin`: the units that a ticket or a pruned checkpoint has removed are cut out of its network."""

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lth.analysis.layers import uses_per_image
from lth.cli.output import console, show
from lth.networks.from_config import build, described, image_shape
from lth.pruning import Masks
from lth.pruning.structured.attached import Attached
from lth.pruning.structured.thin import thin
from lth.tickets.formats.content import Content, is_ticket, read
from lth.tickets.formats.scope import complete
from lth.tickets.thinned import ThinnedFile

HEADINGS = {"what": "", "before": "before", "after": "after", "share": "share"}


def thin_ticket(arguments: Namespace) -> None:
    """Write the smaller network, and say what became smaller."""
    path, content = arguments.source, read(arguments.source, arguments.prefix)
    if content.masks is None:
        raise ValueError(f"{path} stores no masks: there is nothing to cut out")
    if content.recipes:
        raise ValueError(f"{path} is thinned already")
    description = described(content.header, arguments.network)
    if description is None:
        raise ValueError(f"{path} does not say what network it is: give --network FILE")
    net, shape = build(description), image_shape(description)
    masks = filled_(net, content, shape, is_ticket(path))
    small = thin(net, masks, shape)
    header = {"network": description, "parent": dict(content.source), "difference": small.difference}
    ThinnedFile(small.net.state_dict(), small.masks, small.kept, header).save(arguments.out)
    _say(net, small.net, small.masks, masks, shape, arguments.out, small.difference)


@torch.no_grad()
def filled_(net: nn.Module, content: Content, shape: tuple[int, int, int], start: bool) -> Masks:
    """Give `net` the content's weights, pruned ones zero; returns the masks. start: the weights are a ticket's, which
    training begins with, so that biases and batch norms of removed outputs leave with them."""
    try:
        net.load_state_dict(dict(content.weights))
    except RuntimeError as error:
        raise ValueError(f"the weights do not fit the network: {' '.join(str(error).split())}") from None
    given: Mapping[str, Tensor] = complete(content.masks or {}, content.weights)
    masks = Masks({name: mask.float() for name, mask in given.items()})
    masks.apply_(net)
    if start:
        goes = Attached.find(net, masks, shape)
        goes.update_(masks)
        for name, parameter in goes.parameters.items():
            parameter.mul_(goes.masks[name])
    return masks


def macs(net: nn.Module, shape: tuple[int, int, int]) -> int:
    """Multiply-adds of one image, biases ignored."""
    named = dict(net.named_parameters())
    return sum(named[name].numel() * times for name, times in uses_per_image(net, shape).items())


def _say(
    net: nn.Module,
    small: nn.Module,
    left: Mapping[str, Tensor],
    masks: Masks,
    shape: tuple[int, int, int],
    path: Path,
    difference: float,
) -> None:
    kept = sum(int(torch.count_nonzero(mask)) for mask in left.values())
    counts: dict[str, tuple[int, int]] = {
        "parameters": (_parameters(net), _parameters(small)),
        "prunable weights": (masks.total, sum(mask.numel() for mask in left.values())),
        "kept ones": (masks.kept, kept),
        "multiply-adds": (macs(net, shape), macs(small, shape)),
        "bytes of weights": (_bytes(net), _bytes(small)),
    }
    rows: list[dict[str, Any]] = [
        {"what": what, "before": before, "after": after, "share": after / before}
        for what, (before, after) in counts.items()
    ]
    screen = console()
    show(screen, rows, HEADINGS)
    screen.print(
        f"outputs differ by {difference:.1g} of the largest\n{path}: {path.stat().st_size:,} bytes, masks and indices "
        "included",
        soft_wrap=True,
    )


def _parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def _bytes(net: nn.Module) -> int:
    return sum(t.numel() * t.element_size() for t in net.state_dict().values())
