"""An experiment killed anywhere and started again ends with the same bits as one that was left alone."""

from pathlib import Path

import pytest

from tests.support.harness import names, train, train_apart, usual
from tests.support.kinds import REPRESENTATIVES
from tests.support.left import state

LADDER = "sparsity=list", "sparsity.densities=[0.5,0.3]"
# A level has twelve optimizer steps, four an epoch. "step n" kills a process in its n-th step. In this order: before
# the first checkpoint; later in that level, or in the next one if it is short; after a level's last step, before it is
# marked finished; right after it is marked; in the second epoch of the next level.
KILLS = ["step 3", "step 10", "before finish", "after finish", "step 6"]
FIRST_TIER, SECOND_TIER = KILLS[1:3], [KILLS[0], *KILLS[3:]]  # of `make test` and of `.ci/run`


@pytest.mark.slow
@pytest.mark.parametrize("method", REPRESENTATIVES)
def test_killed_twice_and_restarted_equals_uninterrupted(method: str, tmp_path: Path):
    """Within a level, and between its last step and its being marked finished."""
    check_restarts(method, FIRST_TIER, tmp_path)


@pytest.mark.engine
@pytest.mark.parametrize("method", REPRESENTATIVES)
def test_killed_three_times_and_restarted_equals_uninterrupted(method: str, tmp_path: Path):
    """Before the first checkpoint, right after a level was marked finished, and in the level after it."""
    check_restarts(method, SECOND_TIER, tmp_path)


@pytest.mark.engine
@pytest.mark.parametrize("method", names("method"))
def test_killed_and_restarted_from_kept_values_equals_uninterrupted(method: str, tmp_path: Path):
    """The method that represents its kind is killed twice, other methods once."""
    check_restarts(method, KILLS[1:3] if method in REPRESENTATIVES else KILLS[1:2], tmp_path, "compute=sparse")


def check_restarts(method: str, kills: list[str], tmp_path: Path, *others: str) -> None:
    """Kill and restart a run several times; an error of any restart would change the final bits.

    others: overrides for every method
    """
    whole, killed, overrides = tmp_path / "whole", tmp_path / "killed", [*usual(method, tmp_path), *others]
    train(whole, *overrides)
    levels = len(list(whole.glob("level_*")))
    for kill in kills:
        finished = len(list(killed.glob("level_*/finished")))
        where, _, step = kill.rpartition(" ") if kill.startswith("step") else (kill, "", str(finished))
        goes_off = finished < levels
        assert train_apart(killed, overrides, (where, int(step))) == (-9 if goes_off else 0), kill
    train(killed, *overrides)
    assert state(killed) == state(whole)


@pytest.mark.slow
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
    for step in (6, 14):
        folder = tmp_path / f"killed{step}"
        assert train_apart(folder, overrides, ("step", step)) == -9
        train(folder, *overrides)
        assert state(folder) == state(tmp_path / "whole"), step


@pytest.mark.slow
def test_a_finished_experiment_trains_nothing(tmp_path: Path):
    train(tmp_path, *LADDER)
    before = state(tmp_path)
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("last.ckpt")}
    assert train_apart(tmp_path, LADDER, ("step", 1)) == 0  # a single step would kill it
    assert state(tmp_path) == before
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("last.ckpt")} == stamps
