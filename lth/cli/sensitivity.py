"""`python -m lth.sensitivity RUN`: accuracy when one tensor after the other is pruned alone, without fine-tuning."""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from lth.analysis.layer_sensitivity import Batches, accuracy_and_loss, draw_samples, fractions, layer_sensitivity
from lth.cli.output import console, show
from lth.experiment.load import LoadedLevel, data_of, load_level
from lth.pruning.seeds import generator
from lth.pruning.structured import units
from lth.report.figures.picture import save
from lth.report.figures.sensitivity import lines
from lth.report.results import as_csv

UNITS = {
    "element": units.elements,
    **{
        each.__name__: each
        for each in (
            units.elements,
            units.filters,
            units.channels,
            units.kernels,
            units.out_features,
            units.in_features,
            units.outputs,
            units.inputs,
        )
    },
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, measure, write CSV and PNG; a mistake of the user's is one line and exit code 1."""
    given = parser().parse_args(arguments)
    try:
        run(given)
    except (ValueError, FileNotFoundError, ImportError) as error:
        sys.exit(f"error: {error}")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="python -m lth.sensitivity", description=__doc__)
    top.add_argument("folder", type=Path, help="a run's folder (its last finished level), or a level's")
    top.add_argument("--level", type=int, help="which level of a run")
    top.add_argument("--unit", default="element", help=f"what is removed: {', '.join(UNITS)}, blocks:ROWSxCOLUMNS")
    top.add_argument("--range", default="0,0.95,0.05", metavar="START,END,STEP", help="fractions removed, END excluded")
    top.add_argument("--parameters", nargs="+", metavar="NAME", help="exact names (default: all that have the unit)")
    top.add_argument("--data", choices=("val", "test"), default="val", help="what is measured on (default: val)")
    top.add_argument("--samples", type=int, metavar="N", help="measure on N of them, drawn once (default: all)")
    top.add_argument("--seed", type=int, default=0, help="of the samples drawn")
    top.add_argument("--out", type=Path, help="folder for CSV and PNG (default: the level's)")
    top.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return top


def run(given: argparse.Namespace) -> None:
    """Measure and write; prints what was measured on, and the CSV's rows."""
    sparsities, parts = levels_of(given.range), unit_named(given.unit)
    level = load_level(given.folder, given.level)
    names = names_with(level, parts, given.unit, given.parameters)
    batches, said = data_for(level, given.data, given.samples, given.seed)
    device, screen = torch.device(given.device), console()
    level.net.to(device)
    screen.print(f"{level.title}: {len(names)} tensors x {len(sparsities)} sparsities, {said}", soft_wrap=True)
    left_out = [name for name in level.masks if name not in names]
    if left_out and not given.parameters:
        screen.print(f"without {given.unit}, left out: {', '.join(left_out)}", soft_wrap=True)
    rows = []
    measure = partial(accuracy_and_loss, batches=batches, device=device)
    densities = [1 - sparsity for sparsity in sparsities]
    for found in layer_sensitivity(level.net, names, parts, densities, measure):
        sparsity = round(1 - found.pop("density"), 10)
        row = {"parameter": found.pop("parameter"), "sparsity": sparsity, **found}
        rows.append(row)
        if sparsity == sparsities[-1]:
            show(screen, rows[-len(sparsities) :], {key: key for key in row})
    _write(rows, given, level, said)


def levels_of(text: str) -> list[float]:
    """The fractions that START,END,STEP means."""
    try:
        start, end, step = map(float, text.split(","))
    except ValueError:
        raise ValueError(f"the range {text!r} is not three numbers START,END,STEP, such as 0,0.95,0.05") from None
    return fractions(start, end, step)


def unit_named(name: str) -> units.Unit:
    """The unit of this name, or `blocks:ROWSxCOLUMNS`."""
    kind, _, sizes = name.partition(":")
    if kind == "blocks" and len(sides := sizes.split("x")) == 2 and all(map(str.isdecimal, sides)) and "0" not in sides:
        return partial(units.blocks, rows=int(sides[0]), columns=int(sides[1]))
    if name not in UNITS:
        raise ValueError(f"the unit {name!r} is not one of {[*UNITS, 'blocks:ROWSxCOLUMNS']}")
    return UNITS[name]


def names_with(level: LoadedLevel, parts: units.Unit, called: str, asked: Sequence[str] | None) -> list[str]:
    """The prunable weights that have the unit, or those `asked` for, which must. ValueError where there are none."""
    unknown = [name for name in asked or () if name not in level.masks]
    if unknown:
        raise ValueError(f"{unknown} are not prunable weights of this run; those are {list(level.masks)}")
    found = []
    for name in asked or level.masks:
        try:
            parts(level.masks[name].shape)
            found.append(name)
        except ValueError as error:
            if asked:
                raise ValueError(f"{name}: {error}") from None
    if not found:
        raise ValueError(f"no prunable weight of this run has {called}: {list(level.masks)}")
    return found


def data_for(level: LoadedLevel, which: str, count: int | None, seed: int) -> tuple[Batches, str]:
    """What is measured on, and how to say it. ValueError for a run without a validation split."""
    data = data_of(level.config)
    batches: Any = data.val_dataloader() if which == "val" else data.test_dataloader()
    if not batches:
        raise ValueError(
            f"the run held nothing out for validation (dataset.val_size={level.config['dataset'].get('val_size')}); "
            "--data test measures on its test data, on which nothing should then be chosen"
        )
    total, name = sum(len(labels) for _, labels in batches), {"val": "validation", "test": "TEST"}[which]
    if count is None:
        return batches, f"on all {total} {name} images"
    return draw_samples(
        batches, count, generator("sensitivity", seed)
    ), f"on {count} of {total} {name} images (seed {seed})"


def _write(rows: list[dict[str, Any]], given: argparse.Namespace, level: LoadedLevel, said: str) -> None:
    out = given.out or level.folder
    out.mkdir(parents=True, exist_ok=True)
    label = given.unit.replace(":", "_") + ("_test" if given.data == "test" else "")
    table, picture = out / f"sensitivity_{label}.csv", out / f"sensitivity_{label}.png"
    table.write_text(as_csv(rows))
    save(lines(rows, f"{level.title}\n{given.unit} pruned one tensor at a time, {said}"), picture)
    console().print(f"{table}\n{picture}", soft_wrap=True)
