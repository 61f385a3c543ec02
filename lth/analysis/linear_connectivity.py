"""Linear mode connectivity: loss and accuracy on the straight line between two trained networks (Frankle et al. 2020,
arXiv 1912.05671; Paul et al. 2023, arXiv 2210.03044)."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from lth.pruning.masks import masked
from lth.storage.checkpoint import copy_state_, final_weights, load_checkpoint

State = dict[str, Tensor]
Row = dict[str, Any]
Batches = Iterable[tuple[Tensor, Tensor]]


def level_end(path: Path) -> tuple[State, State]:
    """Weights and masks with which a level ended, from its last checkpoint. A moving average of the weights is ignored.

    path: of a level's last.ckpt

    Returns the network's state dict, pruned weights zero, and the masks (bool). Raises FileNotFoundError
    if the checkpoint does not exist, and ValueError if it is damaged.
    """
    saved = load_checkpoint(path)
    return masked(final_weights(saved), saved["masks"]), saved["masks"]


def compare_levels(
    net: nn.Module, before: tuple[State, State], after: tuple[State, State], batches: Batches, points: Iterable[float]
) -> tuple[list[Row], Row]:
    """Loss and accuracy on the line between the ends of two levels, and just before and after the pruning between them.

    net: network that the weights fit; ends with the weights of the last measured point
    before, after: weights and masks (bool) with which each level ended
    batches: images and labels; read once per point
    points: positions alpha on the line, 0..1, the first 0 and the last 1

    The line goes from the weights of `before` under the masks of `after` (alpha 0) to the weights of `after` (1).
    Returns its rows (alpha, loss, accuracy) and one row with densities, loss and accuracy before and after pruning,
    and the barriers of loss and error.
    """
    (old, kept), (new, masks) = before, after
    start = masked(old, masks)
    line = [{"alpha": alpha, **_measure(net, _interpolate(start, new, alpha), batches)} for alpha in points]
    at_once = {"before": _measure(net, old, batches), "after": line[0]}
    pruning: Row = {"density_before": density_of(kept), "density_after": density_of(masks)}
    pruning |= {f"{what}_{when}": row[what] for what in ("accuracy", "loss") for when, row in at_once.items()}
    pruning["loss_barrier"] = _barrier(line, lambda row: row["loss"])
    pruning["error_barrier"] = _barrier(line, lambda row: 1 - row["accuracy"])
    return line, pruning


@torch.no_grad()
def _measure(net: nn.Module, weights: State, batches: Batches) -> Row:
    """Mean cross-entropy and accuracy (0..1) of `net` in evaluation mode with `weights`, which are copied into it."""
    copy_state_(net, weights)
    device = next(net.parameters()).device
    net.eval()
    loss = correct = count = 0.0
    for batch in batches:
        x, labels = (tensor.to(device) for tensor in batch)
        logits = net(x).float()
        loss += float(cross_entropy(logits, labels, reduction="sum"))
        correct += int(logits.argmax(1).eq(labels).sum())
        count += len(labels)
    return {"loss": round(loss / count, 7), "accuracy": round(correct / count, 7)}


def _interpolate(a: State, b: State, alpha: float) -> State:
    """(1 - alpha) a + alpha b of every floating-point tensor, running statistics included; other tensors are `a`'s."""
    return {name: torch.lerp(v, b[name], alpha) if v.is_floating_point() else v for name, v in a.items()}


def _barrier(line: Sequence[Row], value: Callable[[Row], float]) -> float:
    """The largest excess of `value` on the line over the linear interpolation between the values at its ends; >= 0."""
    first, last = value(line[0]), value(line[-1])
    return max(value(row) - (1 - row["alpha"]) * first - row["alpha"] * last for row in line)


def line_points(step: float) -> list[float]:
    """0, step, ..., 1. Raises ValueError for a step that does not divide 1."""
    count = round(1 / step) if step > 0 else 0
    if count < 1 or abs(count * step - 1) > 1e-9:
        raise ValueError(f"--step {step} must be 1 divided by a whole number, as 0.1 is")
    return [i / count for i in range(count + 1)]


def density_of(masks: Mapping[str, Tensor]) -> float:
    """Fraction of the masks' elements that are kept, 0..1."""
    return sum(int(m.sum()) for m in masks.values()) / sum(m.numel() for m in masks.values())
