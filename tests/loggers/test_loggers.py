"""What the trackers record of an experiment; read back with their own readers, offline."""

import csv
import struct
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from lth.experiment.loop import run
from lth.loggers import CurvesCSV
from tests.support.harness import configuration, curves, train

LADDER = "sparsity=list", "sparsity.densities=[0.5,0.3]"


def log_records(data: bytes) -> Iterator[bytes]:
    """The records of a LevelDB log, wandb's file format: blocks of 32 KB, a record split over several where it must."""
    block, at, parts = 32768, 7, []  # seven bytes of file header
    while at + 7 <= len(data):
        length, kind = struct.unpack_from("<HB", data, at + 4)
        if kind == 0 or block - at % block < 7:  # padding to the block's end
            at += block - at % block
            continue
        parts.append(data[at + 7 : at + 7 + length])
        at += 7 + length
        if kind in (1, 4):  # whole, or last part
            yield b"".join(parts)
            parts = []


def wandb_records(folder: Path) -> list:
    from wandb.proto.wandb_internal_pb2 import Record

    return [
        Record.FromString(data) for file in sorted(folder.rglob("*.wandb")) for data in log_records(file.read_bytes())
    ]


@pytest.mark.slow
def test_wandb_gets_one_run_with_config_steps_density_axis_layers_and_tickets(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    folder = tmp_path / "experiment" / "seed0"
    train(folder, *LADDER, "logger=wandb", "logger.wandb.mode=offline")
    records = wandb_records(folder)
    (run,) = {r.run.run_id for r in records if r.HasField("run")}
    first = next(r.run for r in records if r.HasField("run"))
    assert first.run_group == str(folder.parent)
    configured = {u.key or u.nested_key[0] for r in records if r.HasField("config") for u in r.config.update}
    configured |= {u.key for r in records if r.HasField("run") for u in r.run.config.update}
    assert {"method", "model", "recipe", "seeds"} <= configured
    assert run
    history = [
        {(i.key or ".".join(i.nested_key)): i.value_json for i in r.history.item}
        for r in records
        if r.HasField("history")
    ]
    steps = [int(row["trainer/global_step"]) for row in history if "train_loss" in row]
    assert steps == [int(row["step"]) for row in curves(folder)]
    points = [row for row in history if "level/test_accuracy" in row]
    assert [float(row["level/density"]) for row in points] == pytest.approx([1, 0.5, 0.3], abs=1e-3)
    metrics = {(m.metric.name or m.metric.glob_name): m.metric for m in records if m.HasField("metric")}
    assert metrics["level/*"].step_metric == "level/density"
    assert sum(any(key.startswith("layers/level_") for key in row) for row in history) == 3
    artifacts = [r.request.log_artifact.artifact for r in records if r.request.HasField("log_artifact")]
    artifacts += [r.artifact for r in records if r.HasField("artifact")]
    assert [a.type for a in artifacts if a.type == "ticket"]


@pytest.mark.slow
def test_tensorboard_gets_curves_and_levels(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(tmp_path, *LADDER, "logger=[csv,tensorboard]")
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    scalars = set(events.Tags()["scalars"])
    assert {"val_accuracy", "train_loss", "level/test_accuracy"} <= scalars
    assert any(name.startswith("layer_density/") for name in scalars)


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


def test_rows_of_levels_that_left_none_stay(tmp_path):
    """Earlier versions kept the rows of finished levels in this file alone."""
    path = tmp_path / "metrics.csv"
    rows = [*logged(path, 0, (4, 8)), *logged(path, 1, (12, 16))]
    whole = path.read_bytes()
    CurvesCSV(path).restore(1, rows[2:3], 12)
    assert path.read_bytes() == whole[: whole.index(b"1,16,")]


def test_a_tracker_that_is_not_installed_is_missed_before_a_folder_exists(tmp_path, monkeypatch):
    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr("lth.loggers.weights_and_biases.version", missing)
    monkeypatch.setattr("lth.loggers.tensorboard.find_spec", lambda name: None)
    for logger in ("wandb", "tensorboard"):
        with pytest.raises(ImportError, match=rf"pip install 'lth\[{logger}\]'"):
            run(configuration(tmp_path / "run", f"logger={logger}"))
    assert not (tmp_path / "run").exists()
