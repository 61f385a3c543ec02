"""A model of the times of linear layers in a training step, which chooses those that are computed from kept values.

The model stands for measurements, which would differ from run to run: the same run always makes the same choice.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

# Nanoseconds per training step: fixed cost of a layer, per weight, per weight and sample, per unit (input or output)
# and sample; for dense layers, then for sparse ones. Fitted to layers of 10 to 2048 units on one core.
_Times = tuple[float, float, float, float]
COMPILED: tuple[_Times, _Times] = (517_000, 4.0, 0.041, 1.18), (547_000, 10.9, 0.168, 3.31)  # products of numba
OF_TORCH: tuple[_Times, _Times] = (499_000, 6.3, 0.082, 4.5), (803_000, 1.9, 0.694, 5.0)  # products of torch and MKL
# Nanoseconds that a step without masks gains besides: multiplying gradients and weights by masks, and transposing
# between a layer and the next one, if neither is dense. From steps of LeNet-300-100 on 8 and on 28 pixels.
_MASKS, _BETWEEN = 100_000, 50_000
_GAIN = 0.2  # smallest gain, as a fraction of the dense time: predictions are up to 0.2 off


def faster_sparse(
    masks: Mapping[str, Tensor], samples: Mapping[str, int], others: bool, times: tuple[_Times, _Times]
) -> list[str]:
    """The linear layers that are expected to train faster from kept values; each gains a fifth, or all together do.

    masks: of linear layers that are pruned, by name of the weight
    samples: rows that a layer multiplies per step: batch size times positions of an image
    others: whether more weights are pruned; if not, steps in which all these layers are sparse multiply by no mask
    times: `COMPILED` or `OF_TORCH`
    """
    of_dense, of_sparse = times
    dense = {name: _nanoseconds(mask.numel(), mask, samples[name], of_dense) for name, mask in masks.items()}
    sparse = {
        name: _nanoseconds(int(torch.count_nonzero(mask)), mask, samples[name], of_sparse)
        for name, mask in masks.items()
    }
    alone = [name for name in masks if sparse[name] < (1 - _GAIN) * dense[name]]
    if others:
        return alone
    gain = sum(dense[name] - sparse[name] for name in alone)
    together = sum(dense.values()) - sum(sparse.values()) + _MASKS + _BETWEEN * (len(masks) - 1)
    return list(masks) if together > max(gain, _GAIN * sum(dense.values())) else alone


def _nanoseconds(weights: int, mask: Tensor, samples: int, times: _Times) -> float:
    layer, weight, product, unit = times
    return layer + weights * (weight + samples * product) + sum(mask.shape) * samples * unit
