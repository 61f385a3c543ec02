"""Digests of short CPU runs, to show that a refactor changes no result: `python -m tests.digests before.txt`.

Further arguments choose cases by a part of their names. One line per case: its name, and a SHA-256 of the run's
results.csv, metrics.csv, weights, masks, optimizer states and tickets; for a case that is refused, the first line of
the refusal. Run it before and after the change, on the same machine, and compare the two files with `diff`.
"""

import contextlib
import hashlib
import io
import json
import multiprocessing
import os
import sys
import tempfile
import traceback
from pathlib import Path

from tests.support.harness import names, train, usual
from tests.support.left import state

LADDER = ["sparsity=list", "sparsity.densities=[0.5,0.3]"]
CONV = ["model=conv2", "dataset.image_size=16"]


def cases() -> dict[str, list[str]]:
    """Name -> overrides: every method, and every option of the groups that change what a level trains."""
    found = {f"method={name}": [f"method={name}"] for name in names("method")}
    for name in names("method/criterion"):
        found[f"criterion={name}"] = [*CONV, "method=one_shot", f"method/criterion={name}", "sparsity.density=0.3"]
    for name in names("method/allocation"):
        one = ["method=at_init", "method/criterion=random", f"method/allocation={name}", "sparsity.density=0.3"]
        found[f"allocation={name}"] = [*CONV, *one]
    for name in names("method/weights"):
        found[f"weights={name}"] = [*CONV, "method=random", f"method/weights={name}", "sparsity.density=0.3"]
    for group in ("drop", "grow", "fraction", "memory", "new_weights"):
        for name in names(f"method/{group}"):
            moving = ["method=rigl", "method.every=2", "sparsity.density=0.3"]
            found[f"{group}={name}"] = [*CONV, *moving, f"method/{group}={name}"]
    for group in ("placement", "repair"):
        for name in names(f"method/{group}"):
            found[f"{group}={name}"] = [*CONV, "method=random", f"method/{group}={name}", "sparsity.density=0.3"]
    for group in ("rule", "freezing", "score_init", "regulariser"):
        for name in names(f"method/{group}"):
            search = ["method=gem_miner", "method.period=1", "sparsity.density=0.3"]
            found[f"{group}={name}"] = [*CONV, *search, f"method/{group}={name}"]
    for name in names("method/path"):
        found[f"path={name}"] = ["method=gmp", f"method/path={name}", "method.every=2", "sparsity.density=0.3"]
    for name in names("treatment"):
        found[f"treatment={name}"] = ["method=retrain", f"treatment={name}"]
    for name in names("support"):
        found[f"support={name}"] = [*CONV, "method=imp", *LADDER[:1], "sparsity.densities=[0.3]", f"support={name}"]
    for name in names("recipe/optimizer"):
        free = ["recipe/schedule=schedule_free"] if name.startswith("schedule_free") else []
        found[f"optimizer={name}"] = ["method=imp", *LADDER, f"recipe/optimizer={name}", *free]
    for name in names("recipe/schedule"):
        if name != "schedule_free":  # goes with its own optimizers
            found[f"schedule={name}"] = ["method=imp", *LADDER, f"recipe/schedule={name}"]
    for name in names("recipe/augment"):
        augmented = ["dataset.channels=3", "dataset.image_size=16", "model=resnet20", "method=lrr", *LADDER]
        found[f"augment={name}"] = [*augmented, f"recipe/augment={name}"]
    for option in ("ema=0.9", "mixup=0.3", "accumulate=3", "clip=0.5", "label_smoothing=0.1", "precision=bf16-mixed"):
        found[f"recipe.{option}"] = ["method=wr", *LADDER, "method.rewind=6it", f"recipe.{option}"]
    return found


def digest(overrides: list[str], folder: Path) -> str:
    """SHA-256 of what a run with these overrides leaves; the first line of its error if it is refused."""
    method = next(o.partition("=")[2] for o in overrides if o.startswith("method="))
    try:
        usual_overrides = usual(method, folder) if len(overrides) == 1 or method == "retrain" else []
        train(folder / "run", *usual_overrides, *overrides)
        left = json.dumps(state(folder / "run"), sort_keys=True, default=str)
        return hashlib.sha256(left.encode()).hexdigest()[:24]
    except Exception as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0][:90]}" if str(error) else traceback.format_exc()


def _one(case: tuple[str, list[str]]) -> tuple[str, str]:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        return case[0], digest(case[1], Path(folder))


if __name__ == "__main__":
    out, wanted = Path(sys.argv[1]), sys.argv[2:]
    chosen = {name: o for name, o in cases().items() if not wanted or any(part in name for part in wanted)}
    with multiprocessing.get_context("forkserver").Pool(2) as pool:
        found = [f"{name:40} {value}\n" for name, value in pool.imap(_one, chosen.items(), chunksize=4)]
    out.write_text("".join(found))
