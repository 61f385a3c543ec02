"""SynFlow: iterative pruning by synaptic flow, without data (Tanaka et al., NeurIPS 2020, arXiv 2006.05467).

A single round can empty whole layers. A hundred rounds do not: use `prune(..., rounds=100)`.
"""

import torch
from torch import nn

from lth.pruning._flow import absolute, flow_gradients
from lth.pruning.criterion import Batches, Scores
from lth.pruning.masks import Masks


def synflow(
    net: nn.Module, masks: Masks, batches: Batches | None = None, *, dtype: str = "float64", bn: str = "eval"
) -> Scores:
    """|dR/dw * w|, with R the sum of the outputs for an image of ones in the network with absolute weights.

    batches: only the shape of its images is used
    dtype: float64 (R exceeds 1e25 in a ResNet-20) or float32
    bn: `eval` = running statistics, which are near the identity at initialisation; `identity` = the identity; `train` =
        the statistics of the one image, as in the code of arXiv 2406.02773

    Raises ValueError without `batches`, for another dtype or bn, and if the flow is not finite in float32.
    """
    if batches is None:
        raise ValueError("synflow needs the images' shape, and no data was given")
    if dtype not in ("float64", "float32"):
        raise ValueError(f"dtype {dtype!r} is not one of 'float64', 'float32'")
    state = absolute(net, masks, getattr(torch, dtype), bn)
    weights = {name: state[name] for name in masks}
    gradients = flow_gradients(net, state, weights, batches.image_shape, batch_statistics=bn == "train")
    # in place: allocating 11 million scores costs a third of the backward pass
    scores = {name: gradients[name].mul_(weight).abs_() for name, weight in weights.items()}
    if dtype == "float32" and not all(bool(score.isfinite().all()) for score in scores.values()):
        raise ValueError(
            "the synaptic flow of this network is not finite in float32: take method.criterion.dtype=float64"
        )
    return scores
