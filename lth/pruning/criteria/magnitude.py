"""Magnitude: |w| (Han et al., NeurIPS 2015, arXiv 1506.02626)."""

from torch import nn

from lth.pruning.criterion import Batches, Scores
from lth.pruning.masks import Masks


def magnitude(net: nn.Module, masks: Masks, batches: Batches | None = None) -> Scores:
    """Keep the weights that are largest in absolute value; needs no data."""
    return {name: w.detach().abs() for name, w in zip(masks, masks.weights(net), strict=True)}
