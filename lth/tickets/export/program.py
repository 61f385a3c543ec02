"""torch.export: the masked network as a graph for any batch size, which runs without the network's Python code."""

from pathlib import Path

import torch
from torch import nn

from lth.storage.atomic import write_with
from lth.tickets.export._masked import check_equal, images, masked_net
from lth.tickets.ticket import Ticket


def write(ticket: Ticket, path: Path, net: nn.Module, image_shape: tuple[int, int, int]) -> str:
    """Write a `.pt2` file for torch.export.load, and check it on another batch size than it was traced with.

    Raises ValueError for another suffix than `.pt2`, and if the file computes other outputs than the network.
    """
    if path.suffix != ".pt2":
        raise ValueError(f"{path.name} must end in .pt2: torch.export.load reads no other name")
    whole = masked_net(ticket, net)
    program = torch.export.export(
        whole, (images(image_shape, 2, net),), dynamic_shapes=({0: torch.export.Dim("batch")},)
    )
    write_with(path, lambda temporary: torch.export.save(program, temporary))
    batch = images(image_shape, 5, net)
    with torch.no_grad():
        difference = check_equal(str(path), whole(batch), torch.export.load(path).module()(batch))
    return f"torch.export program of any batch size; outputs differ by {difference:.1g} from the masked network"
