"""Folders of runs as `lth` leaves them, written without training, for tests of reports."""

import json

import yaml

from lth.report._sections import sections
from lth.report._series import series_of
from lth.report.collect import collect

PNG_END = b"\0\0\0\0IEND\xaeB`\x82"  # the last chunk of every whole picture


def write_run(
    root, method="erk", density=0.1, seed=0, levels=None, config=None, options="", complete=True, ladder=None
):
    """A run's folder as `lth` leaves it. levels: (density, accuracy) or whole rows; config: settings of its own."""
    ladder = ladder or "one_shot"
    folder = root.joinpath(*["digits", "mlp", f"{method}-{ladder}-{density:g}", *([options] if options else [])])
    folder = folder / f"seed{seed}"
    folder.mkdir(parents=True)
    settings = {
        "choices": {"dataset": "digits", "model": "mlp", "method": method},
        "seed": seed,
        "seeds": {"data": seed},
        "recipe": {"lr": 0.1, "batch_size": 10, **(config or {})},
        "dataset": {"train_size": 120, "val_size": 20},
        "sparsity": {"_target_": f"lth.pruning.ladder.{ladder}", "density": density},
        "method": {"final_density": density, "callbacks": {"prune": {"seed": seed}}},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump({"config": settings, "record": {}}))
    for index, level in enumerate(levels or [(density, 0.9)]):
        row = level if isinstance(level, dict) else {"density": level[0], "target_density": level[0]}
        accuracy = level["test_accuracy"] if isinstance(level, dict) else level[1]
        row = {"level": index, "kept": round(1000 * row["density"]), "test_accuracy": accuracy, **row}
        row = {"name": f"level{index}", "epochs": 2.0, "steps": 20, "seconds": 1.5, **row}
        layer = {"layer": "hidden.weight", "total": 1000, "kept": row["kept"], "density": row["density"]}
        layers = [{**layer, "macs": 1000, "macs_kept": row["kept"]}]
        of_level = folder / f"level_{index:02d}_{row['name']}"
        of_level.mkdir()
        (of_level / "finished").write_text(json.dumps({"row": row, "layers": layers}))
    if complete:
        (folder / "curve.png").write_bytes(PNG_END)
    return folder


def only_series(root):
    """The only section of the runs under `root`, and its series."""
    ((section, series),) = [(s, series_of(s)) for s in sections(collect([root]))]
    return section, series
