"""Values through the real command line: a mistake is one line and code 1, and leaves no folder."""

import random
from pathlib import Path

import pytest

from lth.cli._valid import entries
from tests.cli.test_valid import CHOSEN, VALUES, composed
from tests.support.commands import run_py
from tests.support.harness import SMALL

AS_WRITTEN = {  # VALUES on a command line
    "word": "no",
    "number as text": "'1'",
    "empty": "''",
    "NaN": "nan",
    "infinite": "inf",
    "negative": "-1",
    "zero": "0",
    "huge": str(10**30),
    "fraction": "1.5",
    "true": "true",
    "list": "[1,a]",
    "empty list": "[]",
    "mapping": "{a: 1}",
    "null": "null",
}
PARTS = ("recipe", "method", "sparsity", "seeds", "trainer", "prunable", "support", "treatment")
METHODS = [name for name, chosen in CHOSEN.items() if not any("timm" in o or "sam" in o for o in chosen)]
# datasets and networks of SMALL; optimizers of other packages are tested where those are
LEFT = ("dataset=", "model=", "logger=", "recipe/optimizer=soap", "recipe/optimizer=shampoo", "recipe/augment")


def sample(count: int, valid: bool, seed: int = 0) -> list[tuple[str, str]]:
    """Pairs of a name in `CHOSEN` and an override whose value a line accepts (`valid`) or refuses."""
    pairs = []
    for name in METHODS:
        for entry in entries(composed(name)):
            outside = entry.key.partition(".")[0] not in PARTS if "." in entry.key else entry.key == "folder"
            if outside or entry.valid is None or entry.interpolated or entry.key.rpartition(".")[2].startswith("_"):
                continue
            words = [AS_WRITTEN[word] for word, value in VALUES.items() if entry.valid.accepts(value) == valid]
            pairs += [(name, f"{entry.key}={word}") for word in words]
    return random.Random(seed).sample(sorted(set(pairs)), count)


def outcome(name: str, override: str, folder: Path) -> str:
    """What is wrong with how a command line ended; empty where it is as it should be."""
    chosen = [option for option in CHOSEN[name] if not option.startswith(LEFT)]
    chosen += [] if "sparsity=annealed" in chosen or name not in ("imp", "sanity") else ["sparsity.rate=0.7"]
    given = [*SMALL, *chosen, "recipe.epochs=2", f"folder={folder}", "hydra.mode=RUN", override]
    result = run_py(*given, cwd=folder.parent)
    if "Traceback" in result.stderr or result.returncode not in (0, 1):
        return f"{name} {override}: code {result.returncode}, {result.stderr.strip().splitlines()[-1:]}"
    if result.returncode == 1 and folder.exists() and "training loss" not in result.stderr:
        return f"{name} {override}: left a folder, {result.stderr.strip().splitlines()[-1:]}"
    return ""


def test_every_value_can_be_written():
    assert AS_WRITTEN.keys() == VALUES.keys()


@pytest.mark.engine
@pytest.mark.parametrize(("count", "valid"), [(16, False), (8, True)], ids=["refused", "valid"])
def test_no_value_gives_a_traceback_and_no_mistake_a_folder(count: int, valid: bool, tmp_path: Path):
    found = [outcome(*pair, tmp_path / str(index)) for index, pair in enumerate(sample(count, valid))]
    assert [text for text in found if text] == []


@pytest.mark.slow
def test_a_mistake_is_one_line_and_leaves_nothing(tmp_path: Path):
    (tmp_path / "file").touch()
    answers = {
        "overwrite=no": "error: overwrite=no: must be true or false",
        "recipe.schedule.milestones={a: 1}": "error: recipe.schedule.milestones={a: 1}: the key holds",
        "folder=file/run": "error: folder=file/run: must be a folder",
        "trainer.devices=0": "error: trainer.devices=0: must be",
        "model.pretrained=nowhere.pt": "error: there is no key",
    }
    for override, answer in answers.items():
        given = () if override.startswith("folder=") else ("folder=here",)
        result = run_py(*given, override, cwd=tmp_path)
        (line,) = result.stderr.strip().splitlines()
        assert (result.returncode, line.startswith(answer)) == (1, True), result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.slow
def test_wrong_jobs_of_a_sweep_are_reported_and_not_started(tmp_path: Path):
    result = run_py("-m", *SMALL, "recipe.lr=true,nan", cwd=tmp_path)
    assert result.returncode != 0
    assert "0 of 2 jobs finished" in result.stdout
    failed = [line for line in result.stdout.splitlines() if line.endswith("recipe.lr=nan: must be a number over 0")]
    assert len(failed) == 2  # when the sweep is planned, and at its end
    assert failed[0] == failed[1]
    assert failed[0].startswith("failed: ")
    assert result.stderr == ""
    assert "to run" not in result.stdout
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.rglob("config.yaml"))


@pytest.mark.slow
@pytest.mark.parametrize("override", ["hydra.launcher.jobs=0", "hydra.launcher.jobs=a", "hydra.launcher.preload=no"])
def test_a_sweep_with_a_wrong_launcher_is_refused(override: str, tmp_path: Path):
    result = run_py("-m", "seed=0,1", override, cwd=tmp_path)
    assert result.returncode == 1
    assert result.stderr.startswith(f"error: {override}: must be ")
