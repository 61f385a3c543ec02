"""What the references share, slow and plain: random layers, selection by sorting, a network and SGD written out."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

Tensors = dict[str, Tensor]
# layers of a convolutional network and of a fully connected one
CONV = {"conv": (6, 3, 3, 3), "shortcut": (8, 6, 1, 1), "deep": (8, 6, 3, 3), "head": (5, 8)}
MLP = {"first": (20, 12), "second": (9, 20), "head": (4, 9)}


def draw(shapes: Mapping[str, tuple[int, ...]], seed: int, values: int | None = None) -> Tensors:
    """Normal numbers by layer; with `values`, rounded to multiples of 1 / values, so that many are equal."""
    random = torch.Generator().manual_seed(seed)
    drawn = {name: torch.randn(shape, generator=random, dtype=torch.float64) for name, shape in shapes.items()}
    return {name: (t * values).round() / values for name, t in drawn.items()} if values else drawn


def half(shapes: Mapping[str, tuple[int, ...]], seed: int, density: float = 0.5) -> Tensors:
    """Random bool masks in which each weight is kept with probability `density`."""
    random = torch.Generator().manual_seed(seed)
    return {name: torch.rand(shape, generator=random) < density for name, shape in shapes.items()}


def keep_largest(scores: Mapping[str, Tensor], count: int, among: Mapping[str, Tensor] | None = None) -> Tensors:
    """Bool masks of the `count` largest scores of all layers together; of equal scores the earlier one is kept."""
    entries = []
    for layer, (name, score) in enumerate(scores.items()):
        allowed = [True] * score.numel() if among is None else among[name].flatten().tolist()
        for index, value in enumerate(score.flatten().tolist()):
            if allowed[index]:
                entries.append((-value, layer, index, name))
    kept = {name: torch.zeros(score.numel(), dtype=torch.bool) for name, score in scores.items()}
    for _, _, index, name in sorted(entries)[:count]:
        kept[name][index] = True
    return {name: kept[name].view(score.shape) for name, score in scores.items()}


def nearest(value: float) -> int:
    """Rounded to the nearest whole number, halves up."""
    return math.floor(value + 0.5)


def equal(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    """Whether two sets of tensors have the same names and the same values."""
    return list(a) == list(b) and all(torch.equal(a[name].double(), b[name].double()) for name in a)


class Weights(torch.nn.Module):
    """A network that is nothing but weights: the layer `name` has the parameter `name.weight`."""

    def __init__(self, weights: Mapping[str, Tensor]):
        super().__init__()
        for name, weight in weights.items():
            module = torch.nn.Module()
            module.weight = torch.nn.Parameter(weight)
            self.add_module(name, module)


class PlainMLP:
    """A fully connected ReLU network as a list of tensors, trained by SGD written out, with masks in the forward pass.

    parameters: names and values in the order of the layers, weights named `*.weight`
    masks: name of a weight -> 0/1, of the weights that are multiplied by a mask
    """

    def __init__(self, parameters: Mapping[str, Tensor], masks: Mapping[str, Tensor]):
        self.values = {name: value.clone() for name, value in parameters.items()}
        self.masks = {name: mask.to(next(iter(self.values.values())).dtype) for name, mask in masks.items()}
        self.velocity: Tensors = {}

    def used(self) -> Tensors:
        """The values with which the network computes."""
        return {n: value * self.masks[n] if n in self.masks else value for n, value in self.values.items()}

    def gradients(self, x: Tensor, labels: Tensor, used: Mapping[str, Tensor] | None = None) -> Tensors:
        """The gradient of the loss with respect to each value used: dense, at masked weights too."""
        leaves = {n: value.detach().clone().requires_grad_() for n, value in (used or self.used()).items()}
        out = logits(leaves, x.to(next(iter(leaves.values())).dtype))
        found = torch.autograd.grad(cross_entropy(out, labels), list(leaves.values()))
        return dict(zip(leaves, found, strict=True))

    def step(self, gradients: Mapping[str, Tensor], lr: float, momentum: float, decay: float, nesterov: bool) -> None:
        """v <- momentum v + (g + decay w), then w <- w - lr v, or w <- w - lr (g + decay w + momentum v)."""
        sgd(self.values, gradients, self.velocity, lr, momentum, decay, nesterov)

    def masked(self, gradients: Mapping[str, Tensor]) -> Tensors:
        """Gradients times masks."""
        return {n: g * self.masks[n] if n in self.masks else g for n, g in gradients.items()}


def sgd(
    values: Tensors,
    gradients: Mapping[str, Tensor],
    velocity: Tensors,
    lr: float,
    momentum: float,
    decay: float,
    nesterov: bool = False,
) -> None:
    """One step of SGD with momentum and weight decay, in place."""
    for name, gradient in gradients.items():
        pulled = torch.add(gradient, values[name], alpha=decay)
        velocity[name] = momentum * velocity[name] + pulled if name in velocity else pulled.clone()
        direction = torch.add(pulled, velocity[name], alpha=momentum) if nesterov else velocity[name]
        values[name] = torch.add(values[name], direction, alpha=-lr)


def logits(values: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """The outputs of the fully connected network with these weights and biases, in the order of the layers."""
    x = x.flatten(1)
    layers = [name.removesuffix(".weight") for name in values if name.endswith(".weight")]
    for index, layer in enumerate(layers):
        x = torch.nn.functional.linear(x, values[f"{layer}.weight"], values.get(f"{layer}.bias"))
        x = torch.relu(x) if index + 1 < len(layers) else x
    return x
