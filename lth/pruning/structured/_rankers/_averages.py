"""Averages over the elements of each unit, and over the activations of each output."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from lth.pruning.criterion import Batches
from lth.pruning.structured._dataflow import trace
from lth.pruning.structured._rankers import UnitScores
from lth.pruning.structured.groups import UnitIndex
from lth.pruning.structured.units import sum_per_unit


def weights_of(net: nn.Module, unit_index: UnitIndex) -> dict[str, Tensor]:
    """The weights that have units, detached."""
    named = dict(net.named_parameters())
    return {name: named[name].detach() for name in unit_index}


def mean_per_unit(values: Tensor, index: Tensor) -> Tensor:
    """The mean of `values` over the elements of each unit, in double precision; 0 for a unit without elements."""
    return sum_per_unit(values, index) / sum_per_unit(torch.ones_like(values), index).clamp_min(1)


def mean_per_output(values: Tensor) -> Tensor:
    """The mean of activations (batch x outputs x positions) for each output, in double precision."""
    return values.detach().double().transpose(0, 1).flatten(1).mean(1)


def activation_scores(
    net: nn.Module,
    unit_index: UnitIndex,
    batches: Batches | None,
    n_batches: int,
    statistic: Callable[[Tensor], Tensor],
) -> UnitScores:
    """The mean of `statistic` over batches, for each unit.

    Raises ValueError without data, for units that are not whole outputs, and for outputs that reach no activation
    function before the next layer.

    n_batches: number of training batches that are run through the network, in evaluation mode
    statistic: function from activations (batch first) to one number per output
    """
    if batches is None:
        raise ValueError("this ranker scores activations, and no data was given")
    unit_of_outputs = {name: _unit_of_outputs(name, index) for name, index in unit_index.items()}
    sums: dict[str, Tensor] = {}
    counts: dict[str, int] = {}

    def add(name: str, values: Tensor) -> None:
        if name in unit_index:
            sums[name] = sums.get(name, torch.zeros(())) + statistic(values).cpu()
            counts[name] = counts.get(name, 0) + 1

    trace(net, (x for x, _ in batches.draw(n_batches)), add)
    missing = [name for name in unit_index if name not in sums]
    if missing:
        raise ValueError(f"the outputs of {missing} reach no activation function: choose another ranker")
    return {name: mean_per_unit(sums[name] / counts[name], unit_of_outputs[name].cpu()) for name in unit_index}


def _unit_of_outputs(name: str, index: Tensor) -> Tensor:
    flat = index.reshape(len(index), -1)
    if not bool((flat == flat[:, :1]).all()):
        raise ValueError(f"activations rank whole outputs (filters, out_features), not parts of {name} within them")
    return flat[:, 0]
