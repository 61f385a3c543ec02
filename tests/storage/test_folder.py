"""A run's folder belongs to one configuration and to one process at a time, and overwriting spares what is others'."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lth.storage.atomic import write_text
from lth.storage.folder import NOT_IDENTITY, RunFolder, different_keys

CONFIG = {
    "seed": 0,
    "folder": "runs/a",
    "overwrite": False,
    "recipe": {"lr": 0.1, "epochs": 10, "clip": None, "optimizer": {"name": "sgd", "betas": [0.9, 0.999]}},
    "dataset": {"root": "data", "name": "digits"},
    "logger": {"csv": {"path": "metrics.csv"}},
    "trainer": {"devices": 1, "precision": "5%"},
    "prunable": {"include": ["*"], "exclude": []},
    "treatment": {},
}
RECORD = {"python": "3.11", "git": "abc"}
HOLD = """
import sys, time
from lth.storage.folder import RunFolder
with RunFolder(sys.argv[1]).locked():
    print("held", flush=True)
    time.sleep(60)
"""


def changed(key, value):
    """CONFIG with one leaf changed."""

    def put(config, path):
        head, *rest = path
        return {**config, head: put(config.get(head, {}), rest) if rest else value}

    return put(CONFIG, key.split("."))


def claimed(path, config=CONFIG):
    folder = RunFolder(path)
    folder.claim(config, RECORD)
    return folder


@pytest.fixture
def other_process(tmp_path):
    """A process that holds the folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.mark.slow
def test_a_second_process_is_refused_until_the_first_is_gone_however_it_went(tmp_path, other_process):
    folder = RunFolder(tmp_path)
    with pytest.raises(ValueError, match=f"another process is working in {tmp_path}"), folder.locked():
        pytest.fail("two processes in one folder")
    other_process.send_signal(signal.SIGKILL)
    other_process.wait()
    with folder.locked():
        pass


def test_a_second_experiment_in_this_process_is_refused_too(tmp_path):
    folder = RunFolder(tmp_path / "new")
    with folder.locked(), pytest.raises(ValueError, match="another process"), RunFolder(tmp_path / "new").locked():
        pytest.fail("two experiments in one folder")
    with folder.locked(), RunFolder(tmp_path / "another").locked():
        pass


def test_a_failed_run_lets_go_of_its_folder(tmp_path):
    folder = RunFolder(tmp_path)
    with pytest.raises(RuntimeError), folder.locked():
        raise RuntimeError
    with folder.locked():
        pass


def test_a_failed_run_leaves_the_reason_until_it_is_tried_again(tmp_path):
    folder = RunFolder(tmp_path)
    with pytest.raises(RuntimeError), folder.explained():
        raise RuntimeError("the loss of epoch 3 is nan")
    first, _, rest = (tmp_path / "error.txt").read_text().partition("\n")
    assert first == "RuntimeError: the loss of epoch 3 is nan"
    assert "test_folder.py" in rest
    with folder.explained():
        assert not (tmp_path / "error.txt").exists()
    assert not (tmp_path / "error.txt").exists()


def test_a_stopped_run_has_not_failed(tmp_path):
    with pytest.raises(KeyboardInterrupt), RunFolder(tmp_path).explained():
        raise KeyboardInterrupt
    assert not (tmp_path / "error.txt").exists()


def test_claiming_twice_changes_nothing(tmp_path):
    folder = claimed(tmp_path / "deep" / "run")
    before = (folder.path / "config.yaml").read_text()
    folder.claim(CONFIG, {"python": "3.13"})
    claimed(folder.path)
    assert (folder.path / "config.yaml").read_text() == before


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("seed", 1, "seed: 0 -> 1"),
        ("recipe.lr", 0.01, "recipe.lr: 0.1 -> 0.01"),
        ("recipe.clip", 1.0, "recipe.clip: None -> 1.0"),
        ("recipe.optimizer.betas", [0.9, 0.99], "recipe.optimizer.betas: [0.9, 0.999] -> [0.9, 0.99]"),
        ("recipe.nesterov", True, "recipe.nesterov: 'absent' -> True"),
        ("trainer.precision", "bf16-mixed", "trainer.precision: '5%' -> 'bf16-mixed'"),
        ("treatment", {"name": "shuffle"}, "treatment.name: 'absent' -> 'shuffle'"),
        ("dataset.name", "mnist", "dataset.name: 'digits' -> 'mnist'"),
        ("dataset.roots", "elsewhere", "dataset.roots: 'absent' -> 'elsewhere'"),  # no prefix of dataset.root
    ],
)
def test_another_configuration_is_refused_naming_the_keys(key, value, message, tmp_path):
    folder = claimed(tmp_path)
    with pytest.raises(ValueError, match="holds another configuration; these keys differ") as error:
        folder.claim(changed(key, value), RECORD)
    assert message in str(error.value)
    assert "recipe.epochs" not in str(error.value)
    assert "overwrite=true" in str(error.value)


def test_every_key_that_differs_is_named_those_that_are_gone_too():
    new = {**changed("seed", 1), "recipe": {"lr": 0.1, "epochs": 20}}
    assert different_keys(CONFIG, new) == [
        "seed: 0 -> 1",
        "recipe.epochs: 10 -> 20",
        "recipe.clip: None -> 'absent'",
        "recipe.optimizer.name: 'sgd' -> 'absent'",
        "recipe.optimizer.betas: [0.9, 0.999] -> 'absent'",
    ]
    assert different_keys(CONFIG, CONFIG) == []


@pytest.mark.parametrize("key", NOT_IDENTITY)
def test_where_and_how_something_runs_may_change(key, tmp_path):
    folder = claimed(tmp_path)
    folder.claim(changed(key, "other"), RECORD)


def test_what_is_said_of_a_published_run_may_change_its_form(tmp_path):
    """`published.differs` was a list; a folder stored then is resumed by a mapping, and the reverse."""
    forms = ["A sentence."], {"images": "A sentence."}, None
    for n, (old, new) in enumerate((old, new) for old in forms for new in forms):
        folder = RunFolder(tmp_path / str(n))
        folder.claim(CONFIG | {"published": {"paper": "a", "differs": old}}, RECORD)
        folder.claim(CONFIG | {"published": {"paper": "a", "differs": new}}, RECORD)


def test_loggers_may_change_all_they_hold(tmp_path):
    claimed(tmp_path).claim(changed("logger.wandb.project", "other"), RECORD)


def left_by_lth(path):
    for name in ("level_00_dense/last.ckpt", "level_00_dense/finished", "level_117_density_1e-05/ticket.safetensors"):
        write_text(path / name, "x")
    for name in (
        "results.csv",
        "metrics.csv",
        "layers.csv",
        "curve.png",
        "rewind.ckpt",
        "error.txt",
        "tensorboard/events",
        "wandb/run/log",
    ):
        write_text(path / name, "x")


def left_by_others(path):
    for name in ("notes.txt", "level_plot.png", "level_best/model.pt", "data/results.csv", "results.csv.bak"):
        write_text(path / name, "mine")


def files(path):
    return {str(p.relative_to(path)) for p in Path(path).rglob("*") if p.is_file()}


def test_overwriting_removes_what_lth_wrote_and_nothing_else(tmp_path):
    folder = claimed(tmp_path)
    left_by_others(tmp_path)
    theirs = files(tmp_path)
    left_by_lth(tmp_path)
    folder.claim(changed("seed", 7), RECORD, overwrite=True)
    assert files(tmp_path) == theirs
    claimed(tmp_path, changed("seed", 7))
    assert not (tmp_path / "level_00_dense").exists()


def test_overwriting_nothing_is_claiming(tmp_path):
    left_by_others(tmp_path)
    write_text(tmp_path / "results.csv", "somebody's: there is no run here to overwrite")
    theirs = files(tmp_path)
    RunFolder(tmp_path).claim(CONFIG, RECORD, overwrite=True)
    assert files(tmp_path) == theirs | {"config.yaml"}


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("text", ["defaults: [a, b]\n", "", "- 1\n", "a: [", "config"])
def test_somebody_elses_config_is_neither_taken_nor_removed(text, overwrite, tmp_path):
    (tmp_path / "config.yaml").write_text(text)
    left_by_lth(tmp_path)
    before = files(tmp_path)
    with pytest.raises(ValueError, match="was not written by lth"):
        RunFolder(tmp_path).claim(CONFIG, RECORD, overwrite=overwrite)
    assert files(tmp_path) == before
    assert (tmp_path / "config.yaml").read_text() == text


def test_levels_of_an_unknown_configuration_are_not_adopted(tmp_path):
    left_by_lth(tmp_path)
    with pytest.raises(ValueError, match="holds levels, but no config"):
        RunFolder(tmp_path).claim(CONFIG, RECORD)
    RunFolder(tmp_path).claim(CONFIG, RECORD, overwrite=True)
    assert files(tmp_path) == {"config.yaml"}


def test_clearing_killed_half_way_leaves_no_level_that_looks_whole(tmp_path, monkeypatch):
    folder = claimed(tmp_path)
    for level in ("level_00_dense", "level_01_density_0.5", "level_02_density_0.2"):
        for name in ("last.ckpt", "finished"):
            write_text(tmp_path / level / name, "x")
    removed = []

    def killed(path, **_):
        removed.append(path.name)
        (path / "last.ckpt").unlink()
        if len(removed) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("shutil.rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        folder.clear()
    whole = {path.parent.name for path in tmp_path.rglob("finished")}
    assert whole == {path.parent.name for path in tmp_path.rglob("last.ckpt")} == {"level_00_dense"}
    claimed(tmp_path)  # still the folder of its configuration


def test_levels_come_in_the_order_of_their_numbers_and_without_files_of_ones_own(tmp_path):
    for name in ("level_100_a", "level_11_b", "level_02_c", "level_notes"):
        (tmp_path / name).mkdir()
    (tmp_path / "level_03_copy.txt").write_text("mine")
    assert [level.name for level in RunFolder(tmp_path).levels] == ["level_02_c", "level_11_b", "level_100_a"]


def test_a_level_is_finished_once_its_marker_stands(tmp_path):
    folder, level = RunFolder(tmp_path), tmp_path / "level_00_dense"
    assert folder.finished(level) is None
    outcome = {"row": {"level": 0, "test_accuracy": 0.9712345678901234, "val_loss": None}, "layers": [{"layer": "fc"}]}
    folder.finish(level, outcome)
    assert folder.finished(level) == outcome


def test_a_writer_that_dies_leaves_the_old_file_whole(tmp_path, monkeypatch):
    path = tmp_path / "results.csv"
    write_text(path, "old")

    def dies(*_):
        raise KeyboardInterrupt

    for at in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, at, dies)
            with pytest.raises(KeyboardInterrupt):
                write_text(path, "new")
        assert path.read_text() == "old"
    write_text(path, "new")
    assert path.read_text() == "new"


def test_a_file_is_on_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    calls = []
    for name in ("fsync", "replace"):
        call = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *args, name=name, call=call: (calls.append(name), call(*args)))
    write_text(tmp_path / "deep" / "finished", "{}")
    assert calls == ["fsync", "replace"]
    assert files(tmp_path) == {"deep/finished"}
