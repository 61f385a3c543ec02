"""Rankers that look at what a layer's outputs become after the activation function they reach first."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from lth.pruning.criterion import Batches
from lth.pruning.masks import Masks
from lth.pruning.structured.dataflow import per_output, watch
from lth.pruning.structured.groups import Numbers
from lth.pruning.structured.rankers import Ranks, mean

Of = Callable[[Tensor], Tensor]  # of an activation (batch first): one number an output


def apoz(
    net: nn.Module,
    masks: Masks,
    numbers: Numbers,
    batches: Batches | None = None,
    seed: int = 0,
    *,
    n_batches: int = 10,
) -> Ranks:
    """Minus the mean share of zeros among an output's activations: the most silent go first (arXiv 1607.03250)."""
    return _measured(net, numbers, batches, n_batches, lambda values: -per_output(values == 0))


def mean_activation(
    net: nn.Module,
    masks: Masks,
    numbers: Numbers,
    batches: Batches | None = None,
    seed: int = 0,
    *,
    n_batches: int = 10,
) -> Ranks:
    """An output's mean activation: the weakest go first (arXiv 1611.06440)."""
    return _measured(net, numbers, batches, n_batches, per_output)


def _measured(net: nn.Module, numbers: Numbers, batches: Batches | None, n_batches: int, of: Of) -> Ranks:
    """`of` the activations, averaged over batches. Raises ValueError for parts that are not outputs, and for outputs
    that reach no activation function before the next layer."""
    if batches is None:
        raise ValueError("this ranker looks at activations, and no data was given")
    outputs = {name: _outputs(name, own) for name, own in numbers.items()}
    sums: dict[str, Tensor] = {}
    counts: dict[str, int] = {}

    def see(name: str, values: Tensor) -> None:
        if name in numbers:
            sums[name] = sums.get(name, torch.zeros(())) + of(values).cpu()
            counts[name] = counts.get(name, 0) + 1

    watch(net, (x for x, _ in batches.draw(n_batches)), see)
    missing = [name for name in numbers if name not in sums]
    if missing:
        raise ValueError(f"the outputs of {missing} reach no activation function: rank them by something else")
    return {name: mean(sums[name] / counts[name], outputs[name].cpu()) for name in numbers}


def _outputs(name: str, numbers: Tensor) -> Tensor:
    """The part of each output. Raises ValueError where an output's elements belong to several parts."""
    flat = numbers.reshape(len(numbers), -1)
    if not bool((flat == flat[:, :1]).all()):
        raise ValueError(f"activations rank whole outputs (filters, out_features), not parts of {name} within them")
    return flat[:, 0]
