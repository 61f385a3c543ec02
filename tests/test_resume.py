"""An experiment killed anywhere and started again ends with the same bits as one that was left alone."""

from pathlib import Path

import pytest

from tests.harness import names, state, train, train_apart, usual

METHODS = names("method")
LADDER = "sparsity=list", "sparsity.densities=[0.5,0.3]"
# four optimizer steps an epoch, twelve a level: inside level 0, inside the level after it, and between two levels
KILLS = [("step", 3), ("step", 10), ("step", 18), ("before finish", 0), ("after finish", 0)]


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory):
    """The undisturbed end of each method, trained once."""
    ends = {}

    def end(method: str) -> dict:
        if method not in ends:
            folder = tmp_path_factory.mktemp(method)
            train(folder, *usual(method, folder))
            ends[method] = state(folder)
        return ends[method]

    return end


@pytest.mark.parametrize("bomb", KILLS, ids=lambda bomb: f"{bomb[0]} {bomb[1]}")
@pytest.mark.parametrize("method", METHODS)
def test_killed_and_restarted_equals_uninterrupted(method: str, bomb: tuple[str, int], tmp_path: Path, uninterrupted):
    overrides = usual(method, tmp_path)
    code = train_apart(tmp_path, overrides, bomb)
    one_level = len(list(tmp_path.glob("level_*"))) == 1
    assert code == (0 if one_level and bomb == ("step", 18) else -9)  # a single level has no 18th step
    train(tmp_path, *overrides)
    assert state(tmp_path) == uninterrupted(method)


@pytest.mark.parametrize(
    "option",
    ["dataset.val_size=0", "recipe.ema=0.9", "recipe.mixup=0.3", "recipe.accumulate=3", "recipe.epochs=null", "rewind"],
)
def test_resuming_holds_for_every_way_of_training(option: str, tmp_path: Path):
    overrides = [
        *LADDER,
        *{
            "recipe.epochs=null": ["recipe.epochs=null", "recipe.steps=10"],
            "rewind": [
                "method.rewind=6it",
                "method.optimizer_state=rewind",
                "method.schedule=continue",
                "recipe/optimizer=adamw",
            ],
        }.get(option, [option]),
    ]
    train(tmp_path / "whole", *overrides)
    for step in (6, 10, 14, 18):
        folder = tmp_path / f"killed{step}"
        assert train_apart(folder, overrides, ("step", step)) == -9
        train(folder, *overrides)
        assert state(folder) == state(tmp_path / "whole"), step


def test_a_finished_experiment_trains_nothing(tmp_path: Path):
    train(tmp_path, *LADDER)
    before = state(tmp_path)
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("last.ckpt")}
    assert train_apart(tmp_path, LADDER, ("step", 1)) == 0  # a single step would kill it
    assert state(tmp_path) == before
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("last.ckpt")} == stamps
