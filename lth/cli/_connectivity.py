"""`lth connectivity RUN`: whether successive levels are linearly connected, and accuracy just before and after pruning.

Linear mode connectivity (Frankle et al. 2020, arXiv 1912.05671; Paul et al. 2023, arXiv 2210.03044): loss and accuracy
on the straight line from a level's trained weights, under the next level's mask, to the next level's trained weights.
With --hessian, the largest eigenvalue of the training loss's Hessian at the start and at the end of each level
(arXiv 2406.02773).
"""

import argparse
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lth.analysis.hessian import top_eigenvalue
from lth.analysis.linear_connectivity import Row, compare_levels, density_of, level_end, line_points
from lth.cli._errors import short_errors
from lth.plan import Level
from lth.pruning.masks import masked
from lth.report.figures import single_run
from lth.report.output import save_picture, write_csv
from lth.storage.checkpoint import copy_state_
from lth.storage.folder import RunFolder
from lth.tickets import Ticket


def main(arguments: Sequence[str] | None = None) -> None:
    """Write connectivity.csv, around_pruning.csv, connectivity.png and, with --hessian, hessian.csv; print their paths.

    arguments: the command line; None = that of the process
    """
    parser = argparse.ArgumentParser(prog="lth connectivity", description=__doc__)
    parser.add_argument("run", type=Path, help="the folder of a run with two or more finished levels")
    text = "distance between points on a line: 1 divided by a whole number (default: 0.1)"
    parser.add_argument("--step", type=float, default=0.1, help=text)
    text = "training images on which to compute the Hessian's largest eigenvalue; 0 (default) = do not compute it"
    parser.add_argument("--hessian", type=int, default=0, metavar="IMAGES", help=text)
    parser.add_argument("--iterations", type=int, default=100, help="power iterations for --hessian (default: 100)")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="folder for the files (default: the run's folder)")
    given = parser.parse_args(arguments)
    with short_errors():
        if given.hessian < 0 or given.iterations < 1:
            raise ValueError(
                f"--hessian {given.hessian} must be 0 or more images, --iterations {given.iterations} 1 or more"
            )
        experiment = _experiment(given.run)
        out: Path = given.out or given.run
        out.mkdir(parents=True, exist_ok=True)
        written = _write_lines(experiment, given.step, out)
        if given.hessian:
            written.append(write_csv(out / "hessian.csv", _eigenvalues(experiment, given.hessian, given.iterations)))
        print(*written, sep="\n")


def _experiment(run: Path) -> Any:
    """The experiment of a run's folder, in float32, on the GPU if there is one."""
    from omegaconf import OmegaConf  # imported here, with the experiment: --help should not wait for them

    from lth.experiment.build import Experiment

    folder = RunFolder(run)
    config = OmegaConf.create(folder.configuration())
    config.recipe.precision = "32-true"  # the precision of training may need a device that is not available here
    config.compile = False  # second derivatives need the plain network
    experiment = Experiment(config, folder)
    experiment.net.to("cuda" if torch.cuda.is_available() else "cpu")
    return experiment


def _write_lines(experiment: Any, step: float, out: Path) -> list[Path]:
    """Compare all pairs of successive finished levels on the validation images; returns the files written.

    Column `data` is `test` if no images were held out for validation.

    Raises ValueError if there is no such pair, or if the weights of one of its levels were not kept.
    """
    held_out = experiment.data.val_dataloader()
    data, batches = ("val", held_out) if held_out else ("test", experiment.data.test_dataloader())
    pairs = [level for level in experiment.levels if _has_pair(experiment, level)]
    ends = {index for level in pairs for index in (level.index, level.source)}
    if gone := [experiment.levels[i].name for i in sorted(ends) if not _has_weights(experiment.levels[i])]:
        raise ValueError(f"{experiment.folder.path} does not hold the weights of the levels {gone} (keep=results)")
    if not pairs:
        raise ValueError(
            f"{experiment.folder.path} has no two finished levels of the same network, one of which starts from "
            "the end of the other"
        )
    lines, prunings, points = list[Row](), list[Row](), line_points(step)
    for level in pairs:
        before = level_end(experiment.levels[level.source or 0].folder / "last.ckpt")
        after = level_end(level.folder / "last.ckpt")
        line, pruning = compare_levels(experiment.net, before, after, batches, points)
        pair = {"level": level.index, "source": level.source, "data": data}
        lines += [{**pair, **row} for row in line]
        prunings.append({**pair, **pruning})
    save_picture(single_run.connectivity(lines, prunings), out / "connectivity.png")
    tables = write_csv(out / "connectivity.csv", lines), write_csv(out / "around_pruning.csv", prunings)
    return [*tables, out / "connectivity.png"]


def _eigenvalues(experiment: Any, images: int, iterations: int) -> list[Row]:
    """The Hessian's largest eigenvalue at the start (the ticket) and at the end of each finished level.

    The Hessian is that of the mean cross-entropy on the first `images` training images of a seeded order, without
    augmentation, label smoothing or weight decay, in evaluation mode. Column `residual` is |Hv - l v| / |l| of
    the last iterate.
    """
    net, rows = experiment.net, list[Row]()
    device = next(net.parameters()).device
    batches = list(_first_images(experiment.data.scoring_batches("hessian"), images, device))
    seen = sum(len(labels) for _, labels in batches)
    for level in experiment.levels:
        if experiment.folder.finished(level.folder) is None or experiment.network_of(level)[0] is not net:
            continue
        ticket = Ticket.load(level.folder / "ticket.safetensors")
        ends = {"start": (dict(ticket.weights), dict(ticket.masks)), "end": level_end(level.folder / "last.ckpt")}
        for when, (weights, masks) in ends.items():
            copy_state_(net, masked(weights, masks))
            kept = {name: mask.to(device) for name, mask in masks.items()}
            value, residual = top_eigenvalue(net, kept, batches, iterations)
            row: Row = {"level": level.index, "density": density_of(masks), "at": when, "eigenvalue": value}
            rows.append(row | {"residual": residual, "images": seen, "iterations": iterations})
    return rows


def _first_images(batches: Iterable[tuple[Tensor, Tensor]], count: int, device: Any) -> Iterator[tuple[Tensor, Tensor]]:
    """The first `count` images and their labels, on `device`."""
    for x, labels in batches:
        if count <= 0:
            return
        yield x[:count].to(device), labels[:count].to(device)
        count -= len(labels)


def _has_weights(level: Level) -> bool:
    """Whether the checkpoint with a level's final weights exists."""
    return (level.folder / "last.ckpt").is_file()


def _has_pair(experiment: Any, level: Level) -> bool:
    """Whether a level trains the experiment's network, and it and its source level are finished."""
    if level.source is None or experiment.network_of(level)[0] is not experiment.net:
        return False
    return all(experiment.folder.finished(end.folder) is not None for end in (level, experiment.levels[level.source]))
