"""`lth summary RUN`: sparsity and multiply-adds of each layer of a run's level, a ticket, or a network that is named as
for `lth run` (`model=resnet20 dataset=cifar10`). With --epochs, a run's best epochs: sparsest first, then by accuracy.
"""

import argparse
import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from lth.cli._best_epochs import best_epochs
from lth.cli._errors import hydra_errors, short_errors
from lth.cli._network_tables import Row, compute_table, masks_table, size_in_bytes, sparsity_table
from lth.experiment.load import load_level
from lth.networks.from_config import build, described, image_shape
from lth.pruning.masks import Masks
from lth.report.output import console, print_table, write_csv
from lth.storage.checkpoint import copy_state_
from lth.storage.folder import LEVEL
from lth.tickets import Ticket

_SPARSITY = {
    "name": "name",
    "shape": "shape",
    "nnz_dense": "NNZ dense",
    "nnz_sparse": "NNZ sparse",
    "cols": "Cols %",
    "rows": "Rows %",
    "ch": "Ch %",
    "2d": "2D %",
    "3d": "3D %",
    "fine": "Fine %",
    "std": "Std",
    "mean": "Mean",
    "abs_mean": "Abs-Mean",
    "stray_zeros": "stray zeros",
}
_MASKS = {
    "name": "mask",
    "shape": "shape",
    "elements": "elements",
    "kept": "kept",
    "pruned": "pruned",
    "fine": "Fine %",
}
_COMPUTE = {
    "name": "name",
    "type": "type",
    "attributes": "attributes",
    "input": "input",
    "input_volume": "volume",
    "output": "output",
    "output_volume": "volume",
    "weight_volume": "weights",
    "macs": "MACs",
    "macs_sparse": "sparse MACs",
}
_EPOCHS = {"level": "level", "epoch": "epoch", "kept": "nonzero", "val_accuracy": "val top-1", "val_top5": "val top-5"}


@dataclass(frozen=True)
class _Network:
    """A network with its weights, its masks (none: dense), and channels, height and width of one image."""

    title: str
    net: nn.Module
    masks: Mapping[str, Tensor]
    image_shape: tuple[int, int, int]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables; with --out write them as CSV.

    arguments: the command line; None = that of the process
    """
    parser = argparse.ArgumentParser(prog="lth summary", description=__doc__)
    text = "a run's folder, a level's, a ticket; or overrides as of `lth run`: model=..."
    parser.add_argument("what", nargs="+", help=text)
    text = "your own configurations, as for `lth run`; those of installed packages are found without this option"
    parser.add_argument("--config-dir", type=Path, metavar="FOLDER", help=text)
    parser.add_argument("--level", type=int, help="which level of a run (default: the last finished one)")
    parser.add_argument("--network", type=Path, metavar="FILE", help="YAML of the network, if the ticket names none")
    parser.add_argument(
        "--epochs", type=int, metavar="N", help="print a run's N best epochs instead, by sparsity, then val accuracy"
    )
    text = "folder for sparsity.csv, masks.csv and compute.csv, or epochs.csv (default: none are written)"
    parser.add_argument("--out", "--csv", dest="out", type=Path, metavar="FOLDER", help=text)
    given = parser.parse_args(arguments)
    with short_errors():
        if given.epochs:
            tables = {"epochs": _epochs(Path(given.what[0]), given.epochs)}
        else:
            tables = _tables(_find_network(_with_folder(given.what, given.config_dir), given.level, given.network))
        if given.out is not None:
            for name, rows in tables.items():
                if rows:
                    write_csv(given.out / f"{name}.csv", rows)


def _find_network(what: Sequence[str], level: int | None, file: Path | None) -> _Network:
    """The network that the command line names. Raises ValueError or FileNotFoundError where there is none."""
    path = Path(what[0])
    if len(what) == 1 and path.is_dir():
        found = load_level(path, level)
        return _Network(found.title, found.net, found.masks, found.image_shape)
    if len(what) == 1 and (path.is_file() or "=" not in what[0]):
        return _of_ticket(path, file)
    return _of_configuration(what)


def _with_folder(what: Sequence[str], folder: Path | None) -> list[str]:
    return [*what, *([f"hydra.searchpath=[file://{folder.resolve()}]"] if folder else [])]


def _tables(about: _Network) -> dict[str, list[Row]]:
    """Print and return the tables of sparsity, masks and compute."""
    screen = console()
    found = {"sparsity": sparsity_table(about.net, about.masks), "masks": masks_table(about.masks)}
    found["compute"] = compute_table(about.net, about.masks, about.image_shape)
    screen.print(about.title, soft_wrap=True)
    for name, headings in (("sparsity", _SPARSITY), ("masks", _MASKS), ("compute", _COMPUTE)):
        if found[name]:
            screen.print()
            print_table(screen, found[name], headings)
    total, bytes_of = found["compute"][-1], size_in_bytes(about.net, about.masks)
    screen.print(
        f"\ndense size {bytes_of['dense_bytes']:,} bytes, with every zero stored\n"
        f"packed size {bytes_of['packed_bytes']:,} bytes: kept weights, one bit per element of each mask that prunes\n"
        f"multiply-adds of one image {total['macs']:,}, of kept weights {total['macs_sparse']:,}",
        soft_wrap=True,
    )
    return found


def _epochs(run: Path, count: int) -> list[Row]:
    """Print and return the best epochs of a run: fewest nonzero weights first, then validation top-1 and top-5."""
    if LEVEL.match(run.name):
        raise ValueError(f"{run} is a level; --epochs reads metrics.csv of its run: {run.parent}")
    if not (run / "metrics.csv").is_file():
        raise FileNotFoundError(f"there is no metrics.csv in {run}")
    with (run / "metrics.csv").open(newline="") as file:
        best: list[Row] = best_epochs(list(csv.DictReader(file)), load_level(run).masks.total)[:count]
    print_table(console(), best, _EPOCHS)
    return best


def _of_ticket(path: Path, file: Path | None) -> _Network:
    ticket = Ticket.load(path)
    description = described(ticket.header, file)
    if description is None:
        raise ValueError(f"the ticket {path} names no network; give it with --network FILE")
    net = build(description)
    copy_state_(net, dict(ticket.weights))
    masks = Masks({name: mask.float() for name, mask in ticket.masks.items()})
    masks.apply_(net)
    return _Network(str(path), net, masks, image_shape(description))


def _of_configuration(overrides: Sequence[str]) -> _Network:
    """The network that `lth run` would build from `overrides`, with initial weights and without masks."""
    from hydra import compose, initialize_config_dir  # imported here: Hydra takes a second
    from omegaconf import OmegaConf

    from lth.cli.run import CONFIGURATIONS, register_resolvers

    if not CONFIGURATIONS.is_dir():
        raise ValueError(f"there is no folder {CONFIGURATIONS}, whose configurations define the networks")
    register_resolvers()
    with hydra_errors(CONFIGURATIONS, overrides):
        with initialize_config_dir(str(CONFIGURATIONS), version_base="1.3"):
            cfg: Any = compose("config", overrides=[*overrides, "folder=none"])
        description: Any = OmegaConf.to_container(cfg.model, resolve=True)
    net = build(description, pretrained=True)
    return _Network(" ".join(overrides), net, {}, image_shape(description))
