"""`python -m lth.connectivity RUN`: are successive levels linearly connected, and what does pruning cost at once?

Linear mode connectivity (Frankle et al. 2020, arXiv 1912.05671; Paul et al. 2023, arXiv 2210.03044): loss and accuracy
on the straight line from a level's trained weights, under the next level's mask, to that level's own. On request, the
largest eigenvalue of the training loss's Hessian where each level began and where it ended (arXiv 2406.02773).
"""

import argparse
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from lth.analysis.hessian import top_eigenvalue
from lth.plan import Level
from lth.report.results import as_csv
from lth.storage.atomic import write_atomically
from lth.storage.checkpoint import copy_state_, final_weights, load_checkpoint
from lth.storage.folder import RunFolder
from lth.tickets import Ticket

State = dict[str, Tensor]
Row = dict[str, Any]


def main(arguments: list[str] | None = None) -> None:
    """Read the command line; write connectivity.csv, around_pruning.csv and connectivity.png into the run's folder.

    With --hessian, hessian.csv too.
    """
    parser = argparse.ArgumentParser(prog="python -m lth.connectivity", description=__doc__)
    parser.add_argument("run", type=Path, help="the folder of a run with two or more finished levels")
    parser.add_argument("--step", type=float, default=0.1, help="distance of neighbouring points on a line, 0..1")
    on = "also the Hessian's largest eigenvalue, on so many training images; 0 (default) = no"
    parser.add_argument("--hessian", type=int, default=0, metavar="IMAGES", help=on)
    parser.add_argument("--iterations", type=int, default=100, help="of the power iteration that --hessian makes (100)")
    given = parser.parse_args(arguments)
    try:
        for path in examine(given.run, given.step, given.hessian, given.iterations):
            print(path)
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f"error: {error}")


def examine(run: Path, step: float = 0.1, hessian: int = 0, iterations: int = 100) -> list[Path]:
    """Measure all pairs of successive finished levels of `run`; returns the files written.

    On the validation images; on the test images where none were held out (column `data`). hessian, iterations: on so
    many training images, see `curvature`; 0 leaves it out. Raises ValueError for a folder without such pairs.
    """
    from omegaconf import OmegaConf

    from lth.experiment.build import Experiment

    folder = RunFolder(run)
    config = OmegaConf.create(folder.configuration())
    config.recipe.precision = "32-true"  # the device of the training, which allowed another, need not be here
    config.compile = False  # derivatives of derivatives are taken of the plain network
    check_hessian(hessian, iterations)
    experiment = Experiment(config, folder)
    experiment.net.to("cuda" if torch.cuda.is_available() else "cpu")
    held = experiment.data.val_dataloader()
    data, batches = ("val", held) if held else ("test", experiment.data.test_dataloader())
    pairs = [level for level in experiment.levels if _has_pair(experiment, level)]
    if not pairs:
        raise ValueError(f"{run} has no two finished levels of one network, of which one begins where the other ended")
    lines, prunings = list[Row](), list[Row]()
    for level in pairs:
        before = ends(experiment.levels[level.source or 0].folder / "last.ckpt")
        line, pruning = compare(experiment.net, before, ends(level.folder / "last.ckpt"), batches, alphas(step))
        lines += [{"level": level.index, "source": level.source, "data": data, **row} for row in line]
        prunings.append({"level": level.index, "source": level.source, "data": data, **pruning})
    write_atomically(run / "connectivity.csv", as_csv(lines))
    write_atomically(run / "around_pruning.csv", as_csv(prunings))
    written = [run / "connectivity.csv", run / "around_pruning.csv", draw(run / "connectivity.png", lines, prunings)]
    if hessian:
        write_atomically(run / "hessian.csv", as_csv(curvature(experiment, hessian, iterations)))
        written.append(run / "hessian.csv")
    return written


def curvature(experiment: Any, images: int, iterations: int) -> list[Row]:
    """The Hessian's largest eigenvalue at the start (the ticket) and at the end of each finished level.

    Of the mean cross-entropy on the first `images` training images of a seeded order, without augmentation, label
    smoothing or weight decay, in evaluation mode. `residual` says how far the power iteration is from the eigenvalue.
    """
    net, rows = experiment.net, list[Row]()
    device = next(net.parameters()).device
    batches = list(first_images(experiment.data.scoring_batches("hessian"), images, device))
    for level in experiment.levels:
        if experiment.folder.finished(level.folder) is None or experiment.network_of(level)[0] is not net:
            continue
        ticket = Ticket.load(level.folder / "ticket.safetensors")
        points = {"start": (dict(ticket.weights), dict(ticket.masks)), "end": ends(level.folder / "last.ckpt")}
        for when, (weights, masks) in points.items():
            copy_state_(net, masked(weights, masks))
            kept = {name: mask.to(device) for name, mask in masks.items()}
            value, residual = top_eigenvalue(net, kept, batches, iterations)
            row: Row = {"level": level.index, "density": _density(masks), "at": when, "eigenvalue": value}
            seen = sum(len(labels) for _, labels in batches)
            rows.append(row | {"residual": residual, "images": seen, "iterations": iterations})
    return rows


def first_images(batches: Iterable[tuple[Tensor, Tensor]], count: int, device: Any) -> Iterator[tuple[Tensor, Tensor]]:
    """`batches` up to the `count`-th image, on `device`."""
    for x, labels in batches:
        if count <= 0:
            return
        yield x[:count].to(device), labels[:count].to(device)
        count -= len(labels)


def check_hessian(images: int, iterations: int) -> None:
    """Raise ValueError for counts that measure nothing."""
    if images < 0 or iterations < 1:
        raise ValueError(f"--hessian {images} must be 0 or more images, --iterations {iterations} 1 or more")


def ends(path: Path) -> tuple[State, State]:
    """Weights (and buffers) and masks (bool) that a level's last checkpoint holds, pruned weights zero."""
    saved = load_checkpoint(path)
    return masked(final_weights(saved), saved["masks"]), saved["masks"]


def compare(
    net: nn.Module, before: tuple[State, State], after: tuple[State, State], batches: Any, points: Iterable[float]
) -> tuple[list[Row], Row]:
    """Loss and accuracy along the line between two levels' ends, and what the pruning between them did at once.

    The barrier is the most by which a quantity on the line exceeds its linear interpolation between the ends.
    """
    (old, kept), (new, masks) = before, after
    start = masked(old, masks)
    line = [{"alpha": alpha, **measure(net, between(start, new, alpha), batches)} for alpha in points]
    at_once = {"before": measure(net, old, batches), "after": line[0]}
    pruning: Row = {"density_before": _density(kept), "density_after": _density(masks)}
    pruning |= {f"{what}_{when}": m[what] for what in ("accuracy", "loss") for when, m in at_once.items()}
    pruning["loss_barrier"] = barrier(line, lambda row: row["loss"])
    pruning["error_barrier"] = barrier(line, lambda row: 1 - row["accuracy"])
    return line, pruning


def between(a: State, b: State, alpha: float) -> State:
    """(1 - alpha) a + alpha b, running statistics included; what is no floating-point number is `a`'s."""
    return {name: torch.lerp(v, b[name], alpha) if v.is_floating_point() else v for name, v in a.items()}


def masked(weights: State, masks: Mapping[str, Tensor]) -> State:
    """The weights with zeros where masks (bool) prune."""
    return {name: torch.where(masks[name], v, 0) if name in masks else v for name, v in weights.items()}


def barrier(line: list[Row], of: Any) -> float:
    """The most by which `of` a point of the line exceeds the interpolation between its ends; at these it is 0."""
    first, last = of(line[0]), of(line[-1])
    return max(of(row) - (1 - row["alpha"]) * first - row["alpha"] * last for row in line)


def alphas(step: float) -> list[float]:
    """0, step, ..., 1. Raises ValueError for a step that does not divide 1."""
    count = round(1 / step) if step > 0 else 0
    if count < 1 or abs(count * step - 1) > 1e-9:
        raise ValueError(f"--step {step} must be 1 divided by a whole number, as 0.1 is")
    return [i / count for i in range(count + 1)]


@torch.no_grad()
def measure(net: nn.Module, weights: State, batches: Any) -> Row:
    """Mean loss and accuracy (0..1) of `net` with these weights, in evaluation mode."""
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


def draw(path: Path, lines: list[Row], prunings: list[Row]) -> Path:
    """The lines of all pairs, and accuracy just before and after each pruning."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for row in prunings:
        points = [(p["alpha"], p["loss"]) for p in lines if p["level"] == row["level"]]
        left.plot(*zip(*points, strict=True), label=f"{row['source']} to {row['level']}")
    left.set(xlabel="share of the later level's weights", ylabel=f"{lines[0]['data']} loss", title="between levels")
    left.legend(fontsize=6, ncols=2)
    for when in ("before", "after"):
        right.plot([r["density_after"] for r in prunings], [r[f"accuracy_{when}"] for r in prunings], "o-", label=when)
    right.set(xscale="log", xlabel="density after pruning", ylabel=f"{lines[0]['data']} accuracy", title="pruning")
    right.invert_xaxis()
    right.legend()
    figure.savefig(path, dpi=120)
    return path


def _density(masks: State) -> float:
    return sum(int(m.sum()) for m in masks.values()) / sum(m.numel() for m in masks.values())


def _has_pair(experiment: Any, level: Level) -> bool:
    if level.source is None or experiment.network_of(level)[0] is not experiment.net:
        return False
    both = level, experiment.levels[level.source]
    return all(experiment.folder.finished(one.folder) is not None for one in both)
