"""SNIP: connection sensitivity |dL/dm| = |g * w| (Lee et al., ICLR 2019, arXiv 1810.02340)."""

import torch
from torch import nn

from lth.pruning.criteria._gradients import add_, prepared, scoring_losses
from lth.pruning.criterion import Batches, Scores
from lth.pruning.masks import Masks


def snip(
    net: nn.Module,
    masks: Masks,
    batches: Batches | None = None,
    *,
    n_batches: int | None = None,
    samples_per_class: int | None = 10,
    bn: str = "train",
    redraw: str = "none",
    seed: int = 0,
) -> Scores:
    """|g * w|: how much the loss changes with each weight's mask. The gradient is summed over the scoring set first.

    n_batches: number of batches in the scoring set; None = use `samples_per_class`
    samples_per_class: samples of each class in the scoring set; None = use `n_batches`
    bn, redraw, seed: see `_gradients.prepared`; redraw=all does what the published code of the method `snip_ratio` does
    """
    weights = prepared(net, masks, bn, redraw, seed)
    gradients = [torch.zeros_like(w) for w in weights]
    for loss in scoring_losses(net, batches, n_batches, samples_per_class):
        add_(gradients, torch.autograd.grad(loss, weights))
    return {name: (w * g).detach().abs() for name, w, g in zip(masks, weights, gradients, strict=True)}
