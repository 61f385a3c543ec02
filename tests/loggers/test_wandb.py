"""What W&B records of an experiment, offline, read back with its own reader."""

import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from unittest.mock import patch

import pytest
import yaml

from lth.experiment.loop import run
from lth.loggers import ExperimentWandb
from lth.storage.folder import RunFolder
from tests.support.harness import SMALL, configuration, train
from tests.support.left import curves, rows

LADDER = "sparsity=list", "sparsity.densities=[0.5,0.3]"
CHOSEN = "choices.method=imp", "choices.model=mlp", "choices.dataset=synthetic"


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


@pytest.fixture(scope="module")
def tracked(tmp_path_factory) -> Path:
    """A run with W&B, offline, as a job of a sweep."""
    folder = tmp_path_factory.mktemp("tracked") / "experiment" / "seed0"
    with patch.dict(os.environ, {"WANDB_MODE": "offline", "LTH_SWEEP": "method=imp"}):
        train(folder, *LADDER, *CHOSEN, "logger=wandb", "logger.wandb.tags=[mine]", draw=True)
    return folder


def histories(records: list) -> list[dict[str, str]]:
    """The rows that W&B has logged: key -> value as JSON."""
    rows = (record.history for record in records if record.HasField("history"))
    return [{(item.key or ".".join(item.nested_key)): item.value_json for item in row.item} for row in rows]


@pytest.mark.slow
def test_wandb_gets_one_run_with_tags_group_job_type_and_a_short_name(tracked: Path):
    records = wandb_records(tracked)
    runs = [record.run for record in records if record.HasField("run")]
    assert {run.run_id for run in runs} == {(tracked / "wandb/run_id").read_text()}
    assert sorted(runs[0].tags) == ["imp", "mine", "mlp", "synthetic"]
    assert (runs[0].job_type, runs[0].run_group) == ("imp", "method=imp")
    assert runs[0].display_name.endswith("experiment/seed0")
    assert len(runs[0].display_name) < 60
    configured = {u.key or u.nested_key[0] for r in records if r.HasField("config") for u in r.config.update}
    configured |= {u.key for run in runs for u in run.config.update}
    assert {"method", "model", "recipe", "seeds"} <= configured


@pytest.mark.slow
def test_wandb_gets_curves_by_step_and_levels_and_layers_by_density(tracked: Path):
    records = wandb_records(tracked)
    history = histories(records)
    steps = {int(row["trainer/global_step"]) for row in history if "train_loss" in row}
    assert steps == {int(row["step"]) for row in curves(tracked)}
    points = [row for row in history if "level/test_accuracy" in row]
    assert [float(row["level/density"]) for row in points] == pytest.approx([1, 0.5, 0.3], abs=1e-3)
    assert all(any(key.startswith("layer_density/") for key in row) for row in points)
    metrics = {(m.metric.name or m.metric.glob_name): m.metric for m in records if m.HasField("metric")}
    assert {metrics[name].step_metric for name in ("level/*", "layer_density/*")} == {"level/density"}
    assert sum(any(key.startswith("layers/level_") for key in row) for row in history) == 3
    assert sum(any(key.startswith("layer_densities") for key in row) for row in history) == 3


@pytest.mark.slow
def test_wandb_gets_pictures_tickets_and_the_last_and_best_level(tracked: Path):
    records = wandb_records(tracked)
    (kind,) = [row["picture/curve._type"] for row in histories(records) if "picture/curve._type" in row]
    assert json.loads(kind) == "image-file"
    artifacts = [r.request.log_artifact.artifact for r in records if r.request.HasField("log_artifact")]
    artifacts += [r.artifact for r in records if r.HasField("artifact")]
    assert len([a for a in artifacts if a.type == "ticket"]) == 3
    updates = [update for record in records if record.HasField("summary") for update in record.summary.update]
    summary = {update.key or ".".join(update.nested_key): json.loads(update.value_json) for update in updates}
    table = rows(tracked)
    best = max(table, key=lambda row: (float(row["val_accuracy"]), -float(row["density"])))
    assert summary["best/level"] == int(best["level"])
    assert summary["best/test_accuracy"] == float(best["test_accuracy"])
    assert (summary["final/level"], summary["final/density"]) == (2, float(table[-1]["density"]))


def test_the_ids_of_wandb_runs_collide_neither_between_machines_nor_after_overwrite(tmp_path, monkeypatch):
    ids = []
    for machine in ("a", "b"):
        (tmp_path / machine).mkdir()
        monkeypatch.chdir(tmp_path / machine)
        ids.append(ExperimentWandb("runs/seed0", mode="offline").version)
        assert ExperimentWandb("runs/seed0", mode="offline").version == ids[-1]  # a resumed run
    (tmp_path / "b/runs/seed0/config.yaml").write_text("config: {}\nrecord: {}\n")
    RunFolder("runs/seed0").claim({}, {}, overwrite=True)
    ids.append(ExperimentWandb("runs/seed0", mode="offline").version)
    assert len(set(ids)) == 3


def test_a_wandb_run_of_an_earlier_version_goes_on_under_its_id(tmp_path):
    before = sha256(str(tmp_path).encode()).hexdigest()[:16]
    (tmp_path / f"wandb/offline-run-20250101_000000-{before}").mkdir(parents=True)
    assert ExperimentWandb(str(tmp_path), mode="offline").version == before


@pytest.mark.engine
def test_a_job_of_a_wandb_sweep_belongs_to_it_and_nobody_warns(tmp_path):
    """What `wandb agent` does offline: it makes arguments of the sweep's parameters, and names sweep and run."""
    from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

    page = (Path(__file__).parents[2] / "docs/dashboards.md").read_text()
    plan = yaml.safe_load(page.partition("```yaml\n")[2].partition("```")[0])
    chosen = {name: {"value": given["values"][-1]} for name, given in plan["parameters"].items()}
    flags = create_sweep_command_args({"args": chosen})["args_no_hyphens"]
    assert plan["command"][:2] == ["lth", "run"]
    assert plan["command"][-1] == "${args_no_hyphens}"
    (tmp_path / "parameters.yaml").write_text(yaml.safe_dump({"wandb_version": 1, **chosen}))
    agent = {"WANDB_SWEEP_ID": "s1", "WANDB_RUN_ID": "r1", "WANDB_PROJECT": "p1", "WANDB_MODE": "offline"}
    agent |= {"WANDB_SWEEP_PARAM_PATH": str(tmp_path / "parameters.yaml")}
    small = [option for option in SMALL if not option.startswith("model")]
    command = [sys.executable, "-m", "lth", *plan["command"][1:-1], *small, "model=mlp", *LADDER, *flags]
    command = [option for option in command if not option.startswith("sparsity.density=")]
    done = subprocess.run(command, cwd=tmp_path, env={**os.environ, **agent}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "warn" not in (done.stdout + done.stderr).lower()
    records = wandb_records(tmp_path)
    runs = [record.run for record in records if record.HasField("run")]
    assert {(run.run_id, run.sweep_id, run.project) for run in runs} == {("r1", "s1", "p1")}
    configured = {u.key: json.loads(u.value_json) for run in runs for u in run.config.update}
    assert configured["seed"] == chosen["seed"]["value"]
    assert plan["metric"]["name"] in {key for row in histories(records) for key in row}


def test_a_tracker_that_is_not_installed_is_missed_before_a_folder_exists(tmp_path, monkeypatch):
    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr("lth.loggers.weights_and_biases.version", missing)
    monkeypatch.setattr("lth.loggers.tensorboard.find_spec", lambda name: None)
    for logger in ("wandb", "tensorboard"):
        with pytest.raises(ImportError, match=rf"pip install 'lth\[{logger}\]'"):
            run(configuration(tmp_path / "run", f"logger={logger}"))
    assert not (tmp_path / "run").exists()
