"""The weights on a path from input to output."""

import torch
from torch import Tensor, nn

from lth.pruning._flow import absolute, flow_gradients
from lth.pruning.masks import Masks


def effective(net: nn.Module, masks: Masks, image_shape: tuple[int, ...]) -> dict[str, Tensor]:
    """Which kept weights lie on a path of kept weights from input to output: bool tensors by layer.

    All kept weights are set to one positive number per layer, biases to 0 and batch norm to the identity. A weight is
    then on a path if and only if the gradient of the summed outputs with respect to it is not 0. Leaves `net` in
    evaluation mode.

    image_shape: channels, height, width
    """
    state = absolute(net, masks, torch.float64, "identity", without=masks)
    biases = {n: torch.zeros_like(t) for n, t in state.items() if n.endswith("bias")}
    # divided by the mean in-degree: with ones, the number of paths through a hundred layers could overflow
    weights = {n: m.double() / max(1.0, float(m.sum()) / m.shape[0]) for n, m in masks.items()}
    gradients = flow_gradients(net, {**state, **biases}, weights, image_shape)
    return {name: (gradients[name] != 0) & mask.bool() for name, mask in masks.items()}
