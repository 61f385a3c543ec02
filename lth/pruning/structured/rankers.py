"""Rankers: one number for every part of every weight; the lowest are removed. Those that look at activations are in
`activations.py`.

Ranker = (net, masks, numbers, batches, seed) -> weight name -> one number a part. Pure: whoever calls a ranker undoes
what it does to the network (`lth.pruning.restore`).
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from lth.pruning.criteria.gradients import add_, prepared, scoring_set
from lth.pruning.criterion import Batches
from lth.pruning.masks import Masks
from lth.pruning.seeds import generator
from lth.pruning.structured.dataflow import blank, watch
from lth.pruning.structured.groups import Numbers, Together
from lth.pruning.structured.units import parts, totals

Ranks = dict[str, Tensor]
Ranker = Callable[[nn.Module, Masks, Numbers, Batches | None, int], Ranks]


def l1(net: nn.Module, masks: Masks, numbers: Numbers, batches: Batches | None = None, seed: int = 0) -> Ranks:
    """Mean |w| of the part (Li et al., ICLR 2017, arXiv 1608.08710)."""
    return {name: mean(weight.abs(), numbers[name]) for name, weight in _weights(net, numbers).items()}


def l2(net: nn.Module, masks: Masks, numbers: Numbers, batches: Batches | None = None, seed: int = 0) -> Ranks:
    """Euclidean norm of the part over its number of elements."""
    ranks = {}
    for name, weight in _weights(net, numbers).items():
        sizes = totals(torch.ones_like(weight), numbers[name])
        ranks[name] = totals(weight.double() ** 2, numbers[name]).sqrt() / sizes
    return ranks


def random(net: nn.Module, masks: Masks, numbers: Numbers, batches: Batches | None = None, seed: int = 0) -> Ranks:
    """Uniform draws from `seed`, the same at every firing and on every device: the control."""
    return {
        name: torch.rand(parts(own), generator=generator("structure", seed, name), dtype=torch.float64)
        for name, own in numbers.items()
    }


def gradient(
    net: nn.Module,
    masks: Masks,
    numbers: Numbers,
    batches: Batches | None = None,
    seed: int = 0,
    *,
    n_batches: int = 10,
    signed: bool = False,
    bn: str = "eval",
) -> Ranks:
    """|sum over the part of gradient * weight|, over `n_batches` (arXiv 1611.06440); signed: without the absolute
    value. bn: batch norm's mode meanwhile, `eval` or `train`."""
    weights = dict(zip(masks, prepared(net, masks, bn), strict=True))
    sums = [torch.zeros_like(weights[name]) for name in numbers]
    for x, y in scoring_set(batches, n_batches, None):
        add_(sums, torch.autograd.grad(cross_entropy(net(x), y), [weights[name] for name in numbers]))
    ranks = {n: totals(weights[n] * g / n_batches, numbers[n]) for n, g in zip(numbers, sums, strict=True)}
    return ranks if signed else {name: rank.abs() for name, rank in ranks.items()}


def folded(
    net: nn.Module,
    masks: Masks,
    numbers: Numbers,
    batches: Batches | None = None,
    seed: int = 0,
    *,
    ranker: Ranker = l1,
) -> Ranks:
    """`ranker` on the weights w * gamma / sqrt(var + eps) that batch norm makes of them when it is folded into the
    layer. Raises ValueError for a layer that no batch norm reads alone."""
    if batches is None:
        raise ValueError("folding batch norm needs the images' shape, and no data was given")
    direct = watch(net, [blank(net, batches.image_shape)])[0].direct
    missing = [name for name in numbers if name not in direct]
    if missing:
        raise ValueError(f"no batch norm of their own follows {missing}: rank them without bn_fold")
    with torch.no_grad():
        for name, weight in _weights(net, numbers).items():
            norm = net.get_submodule(direct[name])
            factor = (norm.running_var + norm.eps).rsqrt() * (1 if norm.weight is None else norm.weight)
            weight.mul_(factor.view(-1, *[1] * (weight.dim() - 1)))
    return ranker(net, masks, numbers, batches, seed)


def together(ranks: Mapping[str, Tensor], group: Together) -> Tensor:
    """The mean over the weights that have a part: one number for what they lose together."""
    total, count = (torch.zeros(group.units, dtype=torch.float64) for _ in range(2))
    for name in group.ranked:
        own = ranks[name].detach().double().cpu()
        present = torch.bincount(group.ranked[name].flatten().cpu(), minlength=len(own)) > 0
        total[: len(own)] += torch.where(present, own, 0)
        count[: len(own)] += present
    return total / count.clamp_min(1)


def mean(values: Tensor, numbers: Tensor) -> Tensor:
    """The mean over each part; 0 for a number that no element has."""
    return totals(values, numbers) / totals(torch.ones_like(values), numbers).clamp_min(1)


def _weights(net: nn.Module, numbers: Numbers) -> dict[str, Tensor]:
    named = dict(net.named_parameters())
    return {name: named[name].detach() for name in numbers}
