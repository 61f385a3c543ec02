"""metrics.csv: rows are appended, and written again from what the levels left."""

import csv

import pytest

from lth.loggers import CurvesCSV
from tests.support.harness import train

LADDER = "sparsity=list", "sparsity.densities=[0.5,0.3]"


@pytest.mark.slow
def test_logger_none_still_leaves_results(tmp_path):
    train(tmp_path, *LADDER, "logger=none")
    assert not (tmp_path / "metrics.csv").exists()
    assert (tmp_path / "results.csv").exists()


def test_curves_append_without_reading_and_widen_for_new_columns(tmp_path):
    logger = CurvesCSV(tmp_path / "metrics.csv")
    logger.log_metrics({"level": 0, "step": 1, "a": 1.0}, 1)
    logger.log_metrics({"level": 0, "step": 2, "a": 2.0}, 2)
    logger.log_metrics({"level": 0, "step": 3, "a": 3.0, "b": 9.0}, 3)
    with (tmp_path / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["1", "2", "3"]
    assert rows[0]["b"] == ""
    assert rows[2]["b"] == "9.0"


def logged(path, level, steps) -> list[dict[str, object]]:
    """Rows of a level, in the file and returned."""
    rows = [{"level": level, "step": step, "a": 0.1 * step} for step in steps]
    for row in rows:
        CurvesCSV(path).log_metrics(row, row["step"])
    return rows


def test_rows_after_the_resumed_step_are_dropped(tmp_path):
    path = tmp_path / "metrics.csv"
    rows = logged(path, 0, (4, 8, 12))
    whole = path.read_bytes()
    CurvesCSV(path).restore(0, rows[:2], 8)
    assert path.read_bytes() == whole[: whole.index(b"0,12,")]
    CurvesCSV(path).log_metrics(rows[2], 12)
    assert path.read_bytes() == whole


DAMAGE = {
    "gone": lambda data: None,
    "empty": lambda data: b"",
    "torn in the last line": lambda data: data[:-3],
    "torn in an earlier level": lambda data: data[: len(data) // 3],
    "another number": lambda data: data.replace(b"0.4", b"7.4"),
    "another level": lambda data: data.replace(b"1,16,", b"7,16,"),
    "a null byte": lambda data: data.replace(b"0,8", b"0\x00,8"),
    "no text": lambda data: b"\xff\xfe" + data,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_written_again_from_what_the_levels_left(damage, tmp_path):
    path = tmp_path / "metrics.csv"
    rows = [*logged(path, 0, (4, 8)), *logged(path, 1, (12, 16))]
    whole, left = path.read_bytes(), DAMAGE[damage](path.read_bytes())
    path.unlink() if left is None else path.write_bytes(left)
    CurvesCSV(path).restore(1, rows, 16)
    assert path.read_bytes() == whole


def test_rows_of_levels_that_stored_none_elsewhere_stay(tmp_path):
    """Earlier versions stored the rows of finished levels only in metrics.csv."""
    path = tmp_path / "metrics.csv"
    rows = [*logged(path, 0, (4, 8)), *logged(path, 1, (12, 16))]
    whole = path.read_bytes()
    CurvesCSV(path).restore(1, rows[2:3], 12)
    assert path.read_bytes() == whole[: whole.index(b"1,16,")]
