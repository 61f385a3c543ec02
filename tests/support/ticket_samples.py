"""Tickets to test with: masks and weights of every awkward kind."""

import pytest
import torch
from torch import nn

from lth.pruning.masks import fingerprint
from lth.tickets import Ticket

HEADER = {
    "dataset": "digits",
    "network": {"_target_": "lth.networks.mlp", "widths": [300, 100], "bias": True},
    "seeds": {"init": 0, "data": 1, "prune": 2},
    "level": 3,
    "parent": None,
    "test_accuracy": 0.9712345678901234,
    "name": "Lösung × α",
}


def ticket(**header):
    """Masks and weights of every awkward kind."""
    torch.manual_seed(0)
    square = torch.rand(6, 6)
    weights = {
        "fc.weight": torch.rand(7, 5),
        "head.weight": torch.rand(3, 7),
        "half": torch.rand(4).bfloat16(),
        "halves": torch.rand(3).half(),
        "double": torch.rand(2, dtype=torch.float64),
        "steps": torch.tensor(1234567890123),
        "scale": torch.tensor(0.1),
        "flags": torch.tensor([True, False]),
        "empty": torch.zeros(0, 3),
        "odd values": torch.tensor([-0.0, torch.nan, torch.inf, -torch.inf, 1e-45]),
        "transposed": square.t(),
        "slice": square[1:4, ::2],
        "shared": square,
        "view of the same": square[:2],
        "tied": square,
        "channels last": torch.rand(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
        "expanded": torch.ones(1).expand(5),
        "trainable": nn.Parameter(torch.rand(3)),
    }
    masks = {
        "head.weight": torch.rand(3, 7) > 0.5,  # not in alphabetical order: ties between layers rest on the order
        "fc.weight": torch.rand(7, 5) > 0.5,
        "bit": torch.tensor(True),
        "none": torch.zeros(8, dtype=torch.bool),
        "all": torch.ones(3, 3, dtype=torch.bool),
    }
    return Ticket(masks, weights, {**HEADER, **header})


def saved(path, given=None):
    (given or ticket()).save(path)
    return Ticket.load(path)


def refuse(path, message, kind=ValueError):
    """Loading fails with one line that names the file."""
    with pytest.raises(kind) as error:
        Ticket.load(path)
    assert message in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def contents(given):
    return fingerprint(given.masks), fingerprint(given.weights), given.header
