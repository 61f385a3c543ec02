"""Kills at random training steps under the default `checkpoint_seconds=10`: metrics.csv is written anew at the restart.

Levels of the tests last under a second. A clock that advances by four seconds whenever it is read makes a checkpoint
due at every third epoch, so that a kill loses up to three epochs.
"""

import random
import tempfile
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

from omegaconf import DictConfig

from lth.callbacks.watch import last_checkpoint
from lth.report.output import Row
from lth.storage.checkpoint import load_checkpoint
from tests.support.harness import _job, configuration, forks, usual
from tests.support.kinds import REPRESENTATIVES
from tests.support.left import curves, rows, state

LONG = "recipe.epochs=8", "checkpoint_seconds=10"


def try_kill(folder: Path, method: str, draw: random.Random) -> tuple[int, str]:
    """Kill a run of `method` at a random step and start it again.

    Returns how many rows of metrics.csv no checkpoint held, and what differs from an undisturbed run ("" for nothing).
    """
    overrides = [*usual(method, folder), *LONG]
    assert _run(folder / "whole", overrides, None) == 0
    steps = sum(int(float(row["steps"])) for row in rows(folder / "whole"))
    bomb = "step", draw.randint(2, steps)
    code = _run(folder / "killed", overrides, bomb)
    before = len(curves(folder / "killed")) if (folder / "killed" / "metrics.csv").is_file() else 0
    written = {int(row["step"]) for row in curves(folder / "killed")} if before else set()
    kept = _steps_of_checkpoint(folder / "killed", written)
    again = _run(folder / "killed", overrides, None)
    if (code, again) != (-9, 0):
        return 0, f"exit codes {code}, {again}"
    same = state(folder / "killed") == state(folder / "whole")
    return before - kept, "" if same else f"other results after a kill in step {bomb[1]}"


def table(kills: int) -> list[Row]:
    """One row a kind of method: kills, rows of metrics.csv that were lost, restarts that ended equal."""
    draw, found = random.Random(1), {method: [0, 0, 0] for method in REPRESENTATIVES}
    for number in range(kills):
        method = REPRESENTATIVES[number % len(REPRESENTATIVES)]
        with tempfile.TemporaryDirectory() as name:
            lost, wrong = try_kill(Path(name), method, draw)
        print(number, method, f"{lost} rows lost", wrong or "equal", flush=True)
        found[method] = [a + b for a, b in zip(found[method], (1, lost, not wrong), strict=True)]
    return [
        {"method": method, "kills": tried, "rows lost": lost, "equal": equal}
        for method, (tried, lost, equal) in found.items()
        if tried
    ]


def _steps_of_checkpoint(folder: Path, written: set[int]) -> int:
    """How many rows of metrics.csv belong to finished levels and to the last checkpoint of the unfinished one."""
    kept = 0
    for level in sorted(folder.glob("level_*")):
        if (level / "last.ckpt").is_file():
            kept += int(load_checkpoint(level / "last.ckpt")["epoch"]) + 1
    return min(kept, len(written))


def _run(folder: Path, overrides: Sequence[str], bomb: tuple[str, int] | None) -> int:
    process = forks().Process(target=_on_fast_clock, args=(configuration(folder, *overrides), bomb))
    process.start()
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def _on_fast_clock(cfg: DictConfig, bomb: tuple[str, int] | None) -> None:
    seconds = count(0, 4)
    with patch.object(last_checkpoint, "time", SimpleNamespace(monotonic=lambda: next(seconds))):
        _job([cfg], bomb, {})
