"""GraSP: keep the weights whose removal would reduce gradient flow (Wang et al., ICLR 2020, arXiv 2002.07376)."""

import torch
from torch import Tensor, nn

from lth.pruning.criteria._gradients import add_, prepared
from lth.pruning.criterion import Batches, Scores
from lth.pruning.masks import Masks


def grasp(
    net: nn.Module,
    masks: Masks,
    batches: Batches | None = None,
    *,
    samples_per_class: int = 10,
    sets: int = 1,
    temperature: float = 200.0,
    bn: str = "train",
    redraw: str = "none",
    seed: int = 0,
) -> Scores:
    """w * (H g), signed, with H and g the Hessian and gradient of the loss.

    To first order, removing w changes the squared gradient norm by -2 w (H g). Costs two backward passes and a double
    backward pass for each half of a scoring set.
      samples_per_class: samples of each class in a scoring set, which is split into two halves
      sets: number of scoring sets
      temperature: divisor of the logits
      bn, redraw, seed: see `_gradients.prepared`; redraw=linear does what the published code does
    """
    if batches is None:
        raise ValueError("grasp scores with training data, and none was given")
    weights = prepared(net, masks, bn, redraw, seed)

    def scaled(x: Tensor) -> Tensor:
        logits: Tensor = net(x)
        return logits / temperature

    halves = [half for _ in range(sets) for half in _halves(batches, samples_per_class)]
    g = [torch.zeros_like(w) for w in weights]
    for half in halves:
        add_(g, torch.autograd.grad(batches.loss(scaled, half), weights))
    hg = [torch.zeros_like(w) for w in weights]
    for half in halves:
        gradients = torch.autograd.grad(batches.loss(scaled, half), weights, create_graph=True)
        inner = sum((gradient * fixed).sum() for gradient, fixed in zip(gradients, g, strict=True))
        add_(hg, torch.autograd.grad(inner, weights))
    return {name: (w * h).detach() for name, w, h in zip(masks, weights, hg, strict=True)}


def _halves(batches: Batches, samples_per_class: int) -> list[tuple[Tensor, Tensor]]:
    x, y = batches.per_class(samples_per_class)
    middle = (len(x) + 1) // 2
    return [(x[:middle], y[:middle]), (x[middle:], y[middle:])]
