"""Layer sensitivity: accuracy when one weight tensor at a time is pruned, without retraining.

Han et al. 2015, arXiv 1506.02626; Li et al. 2017, arXiv 1608.08710, section 3.2.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from lth.pruning.restore import preserved
from lth.pruning.structured.units import Unit, count_units, sum_per_unit

Batches = Iterable[tuple[Tensor, Tensor]]
Measure = Callable[[nn.Module], Mapping[str, float]]


def layer_sensitivity(
    net: nn.Module, names: Sequence[str], unit: Unit, densities: Sequence[float], measure: Measure
) -> Iterator[dict[str, Any]]:
    """One row for each parameter and density: parameter, density and the values that `measure` returns.

    Each row starts from the network's own weights and zeroes, in this parameter alone, the units of smallest L1 norm:
    floor((1 - density) units) of them, ties by index. Units that are zero already go first, so that a sparse tensor
    changes only below its own density. Whenever a row is yielded, `net` has its original weights, bit for bit.

    names: parameters of `net`
    unit: what is removed: elements, filters, ... (`lth.pruning.structured.units`)
    densities: fractions of units kept, 0..1
    measure: called on the pruned network; returns the columns of the row

    Raises ValueError for a name that is not a parameter of `net`, and for a density outside 0..1.
    """
    parameters = dict(net.named_parameters())
    unknown = [name for name in names if name not in parameters]
    if unknown:
        raise ValueError(f"there are no parameters {unknown}; there are {list(parameters)}")
    for name in names:
        numbers = unit(parameters[name].shape)
        for density in densities:
            with preserved(net), torch.no_grad():
                parameters[name].mul_(_mask_of_largest(parameters[name], numbers, density))
                values = dict(measure(net))
            yield {"parameter": name, "density": density, **values}  # after `preserved`: the caller sees `net` restored


def fractions(start: float, end: float, step: float) -> list[float]:
    """start, start + step, ... below `end`, rounded to ten digits. Raises ValueError for ranges outside 0..1."""
    if not (0 <= start < end <= 1 and step > 0):
        raise ValueError(f"the range {start:g},{end:g},{step:g} is not START,END,STEP with 0 <= START < END <= 1")
    return [round(start + i * step, 10) for i in range(math.ceil(round((end - start) / step, 6)))]


@torch.no_grad()
def accuracy_and_loss(net: nn.Module, batches: Batches, device: torch.device | None = None) -> dict[str, float]:
    """top1 and top5 (fractions) and the mean cross-entropy of `net`, which is left in evaluation mode.

    With fewer than five classes top5 is 1.

    batches: images and labels
    device: where batches are moved; None = not moved
    """
    net.eval()
    loss, top1, top5, count = 0.0, 0, 0, 0
    for x, labels in batches:
        x, labels = x.to(device), labels.to(device)
        logits = net(x).float()
        best = logits.topk(min(5, logits.shape[1])).indices == labels[:, None]
        loss += float(cross_entropy(logits, labels, reduction="sum"))
        top1, top5, count = top1 + int(best[:, 0].sum()), top5 + int(best.sum()), count + len(labels)
    return {"top1": top1 / count, "top5": top5 / count, "loss": loss / count}


def draw_samples(batches: Batches, count: int, random: torch.Generator) -> list[tuple[Tensor, Tensor]]:
    """`count` random samples of `batches`, in their order. `batches` is read twice and must not change in between.

    Raises ValueError if there are fewer samples.
    """
    sizes = [len(labels) for _, labels in batches]
    if not 0 < count <= sum(sizes):
        raise ValueError(f"{count} samples asked, there are {sum(sizes)}")
    chosen = torch.zeros(sum(sizes), dtype=torch.bool)
    chosen[torch.randperm(len(chosen), generator=random)[:count]] = True
    cuts = zip(batches, chosen.split(sizes), strict=True)
    return [(x[here.to(x.device)], y[here.to(y.device)]) for (x, y), here in cuts if here.any()]


def _mask_of_largest(weight: Tensor, numbers: Tensor, density: float) -> Tensor:
    """A 0/1 mask of the weight's shape and dtype that keeps the units of largest L1 norm.

    numbers: for each element, the number of its unit
    """
    if not 0 <= density <= 1:
        raise ValueError(f"the density {density} is not a fraction kept, 0..1")
    keep = torch.ones(count_units(numbers), dtype=weight.dtype, device=weight.device)
    removed = math.floor(round(1 - density, 12) * len(keep) + 1e-9)  # rounded: 1 - 0.71 is over 0.29
    keep[sum_per_unit(weight.abs(), numbers).argsort(stable=True)[:removed]] = 0
    return keep[numbers.to(weight.device)]
