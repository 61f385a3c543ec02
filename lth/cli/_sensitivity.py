"""`lth sensitivity RUN`: accuracy when one weight tensor at a time is pruned, without training."""

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from lth.analysis.layer_sensitivity import Batches, accuracy_and_loss, draw_samples, fractions, layer_sensitivity
from lth.cli._errors import short_errors
from lth.experiment.load import LoadedLevel, data_of, load_level
from lth.pruning.seeds import generator
from lth.pruning.structured import units
from lth.report.figures import single_run
from lth.report.output import console, print_table, save_picture, write_csv

_UNITS = {
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
    """Measure, print one table per tensor and which images were used, and write a CSV file and a picture.

    arguments: the command line; None = that of the process
    """
    given = _parser().parse_args(arguments)
    with short_errors():
        _run(given)


def _parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="lth sensitivity", description=__doc__)
    top.add_argument("folder", type=Path, help="a run's folder (its last finished level), or a level's")
    top.add_argument("--level", type=int, help="which level of a run (default: the last finished one)")
    top.add_argument("--unit", default="element", help=f"what is removed: {', '.join(_UNITS)}, blocks:ROWSxCOLUMNS")
    top.add_argument("--range", default="0,0.95,0.05", metavar="START,END,STEP", help="fractions removed, END excluded")
    top.add_argument("--parameters", nargs="+", metavar="NAME", help="exact names (default: all that have the unit)")
    top.add_argument("--data", choices=("val", "test"), default="val", help="images to measure on (default: val)")
    top.add_argument("--samples", type=int, metavar="N", help="measure on N of these images, drawn once (default: all)")
    top.add_argument("--seed", type=int, default=0, help="seed of the draw of --samples (default: 0)")
    top.add_argument("--out", type=Path, metavar="FOLDER", help="folder for CSV and PNG (default: the level's folder)")
    top.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return top


def _run(given: argparse.Namespace) -> None:
    sparsities, unit = _sparsities(given.range), _unit(given.unit)
    level = load_level(given.folder, given.level)
    names = _names_with(level, unit, given.unit, given.parameters)
    batches, data = _data(level, given.data, given.samples, given.seed)
    device, screen = torch.device(given.device), console()
    level.net.to(device)
    screen.print(f"{level.title}: {len(names)} tensors x {len(sparsities)} sparsities, {data}", soft_wrap=True)
    left_out = [name for name in level.masks if name not in names]
    if left_out and not given.parameters:
        screen.print(f"left out, because they have no {given.unit}: {', '.join(left_out)}", soft_wrap=True)
    rows = []
    measure = partial(accuracy_and_loss, batches=batches, device=device)
    densities = [1 - sparsity for sparsity in sparsities]
    for found in layer_sensitivity(level.net, names, unit, densities, measure):
        sparsity = round(1 - found.pop("density"), 10)
        row = {"parameter": found.pop("parameter"), "sparsity": sparsity, **found}
        rows.append(row)
        if sparsity == sparsities[-1]:
            print_table(screen, rows[-len(sparsities) :], {key: key for key in row})
    _write(rows, given, level, data)


def _sparsities(text: str) -> list[float]:
    """The fractions removed that START,END,STEP means."""
    try:
        start, end, step = map(float, text.split(","))
    except ValueError:
        raise ValueError(f"the range {text!r} is not three numbers START,END,STEP, such as 0,0.95,0.05") from None
    return fractions(start, end, step)


def _unit(name: str) -> units.Unit:
    """The unit of this name, or `blocks:ROWSxCOLUMNS`. Raises ValueError for other names."""
    kind, _, sizes = name.partition(":")
    if kind == "blocks" and len(sides := sizes.split("x")) == 2 and all(map(str.isdecimal, sides)) and "0" not in sides:
        return partial(units.blocks, rows=int(sides[0]), columns=int(sides[1]))
    if name not in _UNITS:
        raise ValueError(f"the unit {name!r} is not one of {[*_UNITS, 'blocks:ROWSxCOLUMNS']}")
    return _UNITS[name]


def _names_with(level: LoadedLevel, unit: units.Unit, unit_name: str, asked: Sequence[str] | None) -> list[str]:
    """Names of the prunable weights that have the unit, or `asked`.

    Raises ValueError where there are none, or where one of `asked` is not prunable or lacks the unit.
    """
    unknown = [name for name in asked or () if name not in level.masks]
    if unknown:
        raise ValueError(f"{unknown} are not prunable weights of this run; those are {list(level.masks)}")
    found = []
    for name in asked or level.masks:
        try:
            unit(level.masks[name].shape)
            found.append(name)
        except ValueError as error:
            if asked:
                raise ValueError(f"{name}: {error}") from None
    if not found:
        raise ValueError(f"no prunable weight of this run has {unit_name}: {list(level.masks)}")
    return found


def _data(level: LoadedLevel, which: str, count: int | None, seed: int) -> tuple[Batches, str]:
    """Batches to measure on, and their description. Raises ValueError for `val` of a run without a validation split."""
    data = data_of(level.config)
    batches: Any = data.val_dataloader() if which == "val" else data.test_dataloader()
    if not batches:
        raise ValueError(
            f"the run held out no images for validation (dataset.val_size={level.config['dataset'].get('val_size')}); "
            "--data test measures on its test images, but do not choose settings by that result"
        )
    total, name = sum(len(labels) for _, labels in batches), {"val": "validation", "test": "TEST"}[which]
    if count is None:
        return batches, f"on all {total} {name} images"
    samples = draw_samples(batches, count, generator("sensitivity", seed))
    return samples, f"on {count} of {total} {name} images (seed {seed})"


def _write(rows: list[dict[str, Any]], given: argparse.Namespace, level: LoadedLevel, data: str) -> None:
    out: Path = given.out or level.folder
    out.mkdir(parents=True, exist_ok=True)
    label = given.unit.replace(":", "_") + ("_test" if given.data == "test" else "")
    table = write_csv(out / f"sensitivity_{label}.csv", rows)
    title = f"{level.title}\n{given.unit} pruned one tensor at a time, {data}"
    save_picture(single_run.sensitivity(rows, title), table.with_suffix(".png"))
    console().print(f"{table}\n{table.with_suffix('.png')}", soft_wrap=True)
