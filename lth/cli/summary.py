"""`python -m lth.summary RUN`: sparsity and compute tables of a run's level, a ticket, or a network named as run.py
names it (`model=resnet20 dataset=cifar10`); with --epochs, a run's best epochs at equal sparsity."""

import argparse
import csv
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from lth.analysis.network_tables import Row, compute_table, masks_table, size_in_bytes, sparsity_table
from lth.cli.output import console, show, write_csv
from lth.experiment.load import load_level
from lth.networks.from_config import build, described, image_shape
from lth.pruning.masks import Masks
from lth.report.epochs import ranked
from lth.storage.checkpoint import copy_state_
from lth.storage.folder import LEVEL
from lth.tickets import Ticket

CONF = Path(__file__).parents[2] / "conf"
SPARSITY = {
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
MASKS = {"name": "mask", "shape": "shape", "elements": "elements", "kept": "kept", "pruned": "pruned", "fine": "Fine %"}
COMPUTE = {
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
EPOCHS = {"level": "level", "epoch": "epoch", "kept": "nonzero", "val_accuracy": "val top-1", "val_top5": "val top-5"}


@dataclass(frozen=True)
class Subject:
    """What is summed up: a title, the network with its weights, its masks (none: dense), the shape of one image."""

    title: str
    net: nn.Module
    masks: Mapping[str, Tensor]
    image_shape: tuple[int, int, int]


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and print; a mistake of the user's is one line and exit code 1."""
    given = parser().parse_args(arguments)
    try:
        if given.epochs:
            epochs(Path(given.what[0]), given.epochs, given.csv)
        else:
            tables(subject(given.what, given.level, given.network), given.csv)
    except (ValueError, FileNotFoundError, ImportError) as error:
        sys.exit(f"error: {error}")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="python -m lth.summary", description=__doc__)
    top.add_argument(
        "what", nargs="+", help="a run's folder, a level's, a ticket; or overrides as of run.py: model=..."
    )
    top.add_argument("--level", type=int, help="which level of a run (default: the last finished one)")
    top.add_argument("--network", type=Path, metavar="FILE", help="YAML of a ticket's network, where it names none")
    top.add_argument("--epochs", type=int, metavar="N", help="the N best epochs of a run instead, by validation data")
    top.add_argument("--csv", type=Path, metavar="FOLDER", help="also write sparsity.csv, masks.csv, compute.csv there")
    return top


def subject(what: Sequence[str], level: int | None = None, network: Path | None = None) -> Subject:
    """The network meant on the command line. Raises ValueError or FileNotFoundError where there is none."""
    path = Path(what[0])
    if len(what) == 1 and path.is_dir():
        found = load_level(path, level)
        return Subject(found.title, found.net, found.masks, found.image_shape)
    if len(what) == 1 and (path.is_file() or "=" not in what[0]):
        return _ticket(path, network)
    return _named(what)


def tables(about: Subject, folder: Path | None = None) -> None:
    """Print both tables and the sizes; write them to `folder` where given."""
    screen = console()
    found = {"sparsity": sparsity_table(about.net, about.masks), "masks": masks_table(about.masks)}
    found["compute"] = compute_table(about.net, about.masks, about.image_shape)
    screen.print(about.title, soft_wrap=True)
    for name, headings in (("sparsity", SPARSITY), ("masks", MASKS), ("compute", COMPUTE)):
        if found[name]:
            screen.print()
            show(screen, found[name], headings)
    total, bytes_of = found["compute"][-1], size_in_bytes(about.net, about.masks)
    screen.print(
        f"\ndense size {bytes_of['dense_bytes']:,} bytes: zeros alone make nothing smaller\n"
        f"packed size {bytes_of['packed_bytes']:,} bytes: kept weights, one bit an element of each mask that prunes\n"
        f"multiply-adds of one image {total['macs']:,}, of kept weights {total['macs_sparse']:,}",
        soft_wrap=True,
    )
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        for name, rows in found.items():
            if rows:
                write_csv(folder / f"{name}.csv", rows)


def epochs(run: Path, count: int, folder: Path | None = None) -> None:
    """Print the best epochs of a run: fewest nonzero weights first, then validation top-1 and top-5."""
    if LEVEL.match(run.name):
        raise ValueError(f"{run} is a level; --epochs reads metrics.csv of its run: {run.parent}")
    if not (run / "metrics.csv").is_file():
        raise FileNotFoundError(f"there is no metrics.csv in {run}")
    with (run / "metrics.csv").open(newline="") as file:
        best: list[Row] = ranked(list(csv.DictReader(file)), load_level(run).masks.total)[:count]
    show(console(), best, EPOCHS)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        write_csv(folder / "epochs.csv", best)


def _ticket(path: Path, network: Path | None) -> Subject:
    ticket = Ticket.load(path)
    description = described(ticket.header, network)
    if description is None:
        raise ValueError(f"the ticket {path} names no network; --network FILE says which it is")
    net = build(description)
    copy_state_(net, dict(ticket.weights))
    masks = Masks({name: mask.float() for name, mask in ticket.masks.items()})
    masks.apply_(net)
    return Subject(str(path), net, masks, image_shape(description))


def _named(overrides: Sequence[str]) -> Subject:
    """A network with initial weights, from what the configurations beside the package say."""
    from hydra import compose, initialize_config_dir  # imported here: Hydra takes a second
    from hydra.errors import HydraException
    from omegaconf import OmegaConf

    from lth.cli.run import explain, register_resolvers

    if not CONF.is_dir():
        raise ValueError(f"networks are named by the configurations in {CONF}, which is not there")
    register_resolvers()
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            cfg: Any = compose("config", overrides=[*overrides, "folder=none"])
        description: Any = OmegaConf.to_container(cfg.model, resolve=True)
    except HydraException as error:
        raise ValueError(explain(error, CONF)) from None
    net = build(description, pretrained=True)
    return Subject(" ".join(overrides), net, {}, image_shape(description))
