"""Predicts the time of layers in a training step, to choose those that are computed from their kept values.

Times are predicted and not measured, because a measurement differs from run to run and so could the choice.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

# Nanoseconds per training step: fixed cost of a layer, per weight, per weight and sample, per unit (input or output)
# and sample; for dense layers, then for sparse ones. Fitted on one core to linear layers of 10 to 2048 units and to 1x1
# convolutions of 16 to 2048 channels.
_Times = tuple[float, float, float, float]
_COMPILED: tuple[_Times, _Times] = (517_000, 4.0, 0.041, 1.18), (547_000, 10.9, 0.168, 3.31)  # products of numba
_OF_TORCH: tuple[_Times, _Times] = (499_000, 6.3, 0.082, 4.5), (803_000, 1.9, 0.694, 5.0)  # products of torch and MKL
_CONVOLUTION: tuple[_Times, _Times] = (426_000, 9.6, 0.041, 2.06), (585_000, 79.7, 0.155, 0.66)  # compiled
_POSITIONS = 49  # height * width of the smallest images in the measurements of convolutions
# Nanoseconds per training step that are saved if no pruned layer stays dense: by not multiplying gradients and weights
# by masks, and by not transposing between two layers. From steps of LeNet-300-100 on images of 8 and of 28 pixels.
_MASKS, _BETWEEN = 100_000, 50_000
_GAIN = 0.2  # fraction of the dense time that must be saved: more than twice the mean error of predictions, 0.08


def faster_sparse(
    masks: Mapping[str, Tensor], positions: Mapping[str, int], batch_size: int, others: bool, compiled: bool
) -> list[str]:
    """Names of the weights whose layers are expected to train faster from their kept values.

    A layer is chosen if it saves more than a fifth of its dense time. Without `others`, all layers are chosen if
    together they save more than a fifth, and more than the layers chosen one by one.

    masks: of linear layers and 1x1 convolutions that are pruned, by name of the weight
    positions: number of rows that a layer multiplies per image, such as the positions of a convolution, by name
    batch_size: images per training step
    others: whether the network has further pruned weights, which are multiplied by masks in every step
    compiled: whether numba compiles the products; convolutions are chosen only then
    """
    dense, sparse = {}, {}
    for name, mask in masks.items():
        kept, samples = int(torch.count_nonzero(mask)), batch_size * positions[name]
        of_dense, of_sparse = _COMPILED if compiled else _OF_TORCH
        if mask.ndim == 4:
            of_dense, of_sparse = _CONVOLUTION
        known = mask.ndim == 2 or (compiled and positions[name] >= _POSITIONS)
        dense[name] = _nanoseconds(mask.numel(), mask, samples, of_dense)
        sparse[name] = _nanoseconds(kept, mask, samples, of_sparse) if known else math.inf
    alone = [name for name in masks if sparse[name] < (1 - _GAIN) * dense[name]]
    if others:
        return alone
    gain = sum(dense[name] - sparse[name] for name in alone)
    together = sum(dense.values()) - sum(sparse.values()) + _MASKS + _BETWEEN * (len(masks) - 1)
    return list(masks) if together > max(gain, _GAIN * sum(dense.values())) else alone


def _nanoseconds(weights: int, mask: Tensor, samples: int, times: _Times) -> float:
    layer, weight, product, unit = times
    return layer + weights * (weight + samples * product) + sum(mask.shape[:2]) * samples * unit
