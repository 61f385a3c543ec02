"""A model of the times of layers in a training step, which chooses those that are computed from kept values.

The model stands for measurements, which would differ from run to run: the same run always makes the same choice.
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
_POSITIONS = 49  # smallest images, in positions, of the convolutions that the times are fitted to
# Nanoseconds that a step without masks gains besides: multiplying gradients and weights by masks, and transposing
# between a layer and the next one, if neither is dense. From steps of LeNet-300-100 on 8 and on 28 pixels.
_MASKS, _BETWEEN = 100_000, 50_000
_GAIN = 0.2  # smallest gain, as a fraction of the dense time: predictions are up to 0.2 off


def faster_sparse(
    masks: Mapping[str, Tensor], positions: Mapping[str, int], batch_size: int, others: bool, compiled: bool
) -> list[str]:
    """The layers that are expected to train faster from kept values; each gains a fifth, or all together do.

    masks: of linear layers and 1x1 convolutions that are pruned, by name of the weight
    positions: rows that a layer multiplies per image, such as the positions of a convolution
    others: whether more weights are pruned; if not, steps in which all these layers are sparse multiply by no mask
    compiled: whether products are compiled; of torch's, times of convolutions are not known, and they stay dense
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
