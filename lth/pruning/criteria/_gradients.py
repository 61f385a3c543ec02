"""Preparation of network and data for scores from gradients of the loss: SNIP, GraSP and the ranker `gradient`."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from lth.pruning.criterion import Batches
from lth.pruning.masks import Masks
from lth.pruning.seeds import generator

_MODES = ("train", "eval")
# The words of the option `redraw`, and which weights they mean.
_REDRAWN = {"none": lambda w: False, "linear": lambda w: w.dim() == 2, "all": lambda w: True}


def prepared(net: nn.Module, masks: Masks, bn: str, redraw: str = "none", seed: int = 0) -> list[nn.Parameter]:
    """The prunable weights, with pruned ones zero and gradients required. Changes `net`: the caller restores it.

    bn: mode of the network and so of batch norm, `train` or `eval`
    redraw: weights to replace by Xavier-normal draws before scoring, as published code does: `none`, `linear` (those
        of linear layers) or `all`
    seed: seed of these draws
    """
    if bn not in _MODES:
        raise ValueError(f"bn {bn!r} is not one of {_MODES}")
    if redraw not in _REDRAWN:
        raise ValueError(f"redraw {redraw!r} is not one of {tuple(_REDRAWN)}")
    net.train(bn == "train")
    for name, weight in zip(masks, masks.weights(net), strict=True):
        if _REDRAWN[redraw](weight):
            draws = torch.empty(weight.shape)  # on the CPU in float32: equal on all devices
            weight.data.copy_(nn.init.xavier_normal_(draws, generator=generator("redraw", seed, name)))
    masks.apply_(net)
    weights = masks.weights(net)
    for weight in weights:
        weight.requires_grad_(True)
    return weights


def scoring_losses(
    net: nn.Module, batches: Batches | None, n_batches: int | None, samples_per_class: int | None
) -> Iterator[Tensor]:
    """The loss of each of `n_batches` batches, or of one batch with `samples_per_class` samples of every class.

    Raises ValueError unless exactly one of the two is given, and without `batches`.
    """
    if batches is None:
        raise ValueError("this criterion scores with training data, and none was given")
    if (n_batches is None) == (samples_per_class is None):
        raise ValueError(f"give one of n_batches={n_batches} and samples_per_class={samples_per_class}, the other null")
    if samples_per_class is not None:
        return iter([batches.loss(net, batches.per_class(samples_per_class))])
    assert n_batches is not None
    return (batches.loss(net, batch) for batch in batches.draw(n_batches))


@torch.no_grad()
def add_(total: list[Tensor], more: tuple[Tensor, ...]) -> None:
    """total += more, tensor by tensor, in place."""
    torch._foreach_add_(total, list(more))
