"""Sensitivity: how accuracy falls when one weight after the other is pruned alone, without training (Han et al. 2015,
arXiv 1506.02626; Li et al. 2017, arXiv 1608.08710, section 3.2)."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from lth.pruning.restore import untouched
from lth.pruning.structured.units import Unit, parts, totals

Batches = Iterable[tuple[Tensor, Tensor]]
Measure = Callable[[nn.Module], Mapping[str, float]]


def sensitivity(
    net: nn.Module, names: Sequence[str], unit: Unit, sparsities: Sequence[float], measure: Measure
) -> Iterator[dict[str, Any]]:
    """One row for each of the parameters `names` and each sparsity: parameter, sparsity, and what `measure` says.

    Each point starts from the network's own weights and removes, from this parameter alone, the parts of smallest L1
    norm: floor(sparsity x parts) of them, ties by number. Parts that are zero already go first, so a sparse tensor
    stays as it is until the sparsity exceeds its own. `net` is the same to the last bit between any two rows.
    Raises ValueError for a name that is no parameter of `net`.
    """
    parameters = dict(net.named_parameters())
    unknown = [name for name in names if name not in parameters]
    if unknown:
        raise ValueError(f"there are no parameters {unknown}; there are {list(parameters)}")
    for name in names:
        numbers = unit(parameters[name].shape)
        for sparsity in sparsities:
            with untouched(net), torch.no_grad():
                parameters[name].mul_(without_smallest(parameters[name], numbers, sparsity))
                found = dict(measure(net))
            yield {"parameter": name, "sparsity": sparsity, **found}  # outside: whoever reads it finds `net` whole


def without_smallest(weight: Tensor, numbers: Tensor, sparsity: float) -> Tensor:
    """A 0/1 tensor of the weight's shape and dtype: 0 in the floor(sparsity x parts) parts of smallest L1 norm."""
    if not 0 <= sparsity <= 1:
        raise ValueError(f"the sparsity {sparsity} is not a fraction removed, 0..1")
    keep = torch.ones(parts(numbers), dtype=weight.dtype, device=weight.device)
    count = math.floor(sparsity * len(keep) + 1e-9)  # 0.29 * 100 is under 29
    keep[totals(weight.abs(), numbers).argsort(stable=True)[:count]] = 0
    return keep[numbers.to(weight.device)]


def steps(start: float, end: float, step: float) -> list[float]:
    """start, start + step, ... before `end`, without the crumbs of adding floats."""
    if not (0 <= start < end <= 1 and step > 0):
        raise ValueError(f"the range {start:g},{end:g},{step:g} is not START,END,STEP with 0 <= START < END <= 1")
    return [round(start + i * step, 10) for i in range(math.ceil(round((end - start) / step, 6)))]


@torch.no_grad()
def measured(net: nn.Module, batches: Batches, device: torch.device | None = None) -> dict[str, float]:
    """top1 and top5 (fractions) and the mean cross-entropy of `net` in evaluation mode. With fewer than five classes
    top5 counts all of them."""
    net.eval()
    loss, top1, top5, count = 0.0, 0, 0, 0
    for x, labels in batches:
        x, labels = x.to(device), labels.to(device)
        logits = net(x).float()
        best = logits.topk(min(5, logits.shape[1])).indices == labels[:, None]
        loss += float(cross_entropy(logits, labels, reduction="sum"))
        top1, top5, count = top1 + int(best[:, 0].sum()), top5 + int(best.sum()), count + len(labels)
    return {"top1": top1 / count, "top5": top5 / count, "loss": loss / count}


def drawn(batches: Batches, count: int, random: torch.Generator) -> list[tuple[Tensor, Tensor]]:
    """`count` samples drawn from all of `batches` (read twice, so the same at each pass), in their own order."""
    sizes = [len(labels) for _, labels in batches]
    if not 0 < count <= sum(sizes):
        raise ValueError(f"{count} samples asked, there are {sum(sizes)}")
    chosen = torch.zeros(sum(sizes), dtype=torch.bool)
    chosen[torch.randperm(len(chosen), generator=random)[:count]] = True
    cuts = zip(batches, chosen.split(sizes), strict=True)
    return [(x[here.to(x.device)], y[here.to(y.device)]) for (x, y), here in cuts if here.any()]
