"""A fault of the disk or a signal ends a run in one line, and the same command goes on to the same bits."""

import random
from pathlib import Path

import pytest

from tests.faults import disk, kills
from tests.support.harness import usual
from tests.support.left import state

pytestmark = pytest.mark.slow

POINTS = [
    ("open", 1, "EROFS"),
    ("mkdir", 1, "ENOSPC"),
    ("mkdir", 2, "EROFS"),
    ("write", 9, "ENOSPC"),
    ("write", 40, "EIO"),
    ("write", 30, "SIGTERM"),
    ("rename", 1, "SIGKILL"),
    ("rename", 3, "EIO"),
    ("rename", 8, "SIGTERM"),
    ("fsync", 2, "SIGKILL"),
    ("fsync", 5, "ENOSPC"),
    ("open", 5, "SIGTERM"),
]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Overrides of a small experiment, and what it leaves."""
    root = tmp_path_factory.mktemp("whole")
    overrides = [*usual("imp", root), "recipe.epochs=1"]
    assert disk.in_process(root / "run", overrides)[0] == 0
    return overrides, state(root / "run")


@pytest.mark.parametrize("at", POINTS, ids=lambda at: " ".join(map(str, at)))
def test_a_run_is_refused_in_one_line_and_goes_on(at, undisturbed, tmp_path: Path):
    overrides, whole = undisturbed
    assert disk.try_fault(tmp_path / "run", overrides, at, whole) == ""


def test_a_finished_run_that_cannot_be_locked_prints_its_table_and_changes_nothing(undisturbed, tmp_path: Path):
    overrides, _ = undisturbed
    assert disk.in_process(tmp_path / "run", overrides)[0] == 0
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
    assert disk.in_process(tmp_path / "run", overrides, ("open", 1, "EROFS")) == (0, "")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")} == before


@pytest.mark.parametrize("fault", ["ENOLCK", "EACCES", "EDQUOT", "ENOSYS"])
def test_a_lock_that_fails_is_one_line(fault, undisturbed, tmp_path: Path):
    code, printed = disk.in_process(tmp_path / "run", undisturbed[0], ("open", 1, fault))
    assert (code, printed.count("\n")) == (1, 1)
    assert printed.startswith(f"error: {tmp_path / 'run' / '.lock'}")


def test_rows_of_metrics_that_no_checkpoint_held_are_written_again(tmp_path: Path):
    lost, wrong = kills.try_kill(tmp_path, "wr", random.Random(3))
    assert wrong == ""
    assert lost > 0
