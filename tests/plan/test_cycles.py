"""Levels in cycles, budgets over levels, a last level of its own: read from the files an experiment leaves."""

from pathlib import Path

import pytest
import torch

from lth.experiment import loop
from lth.plan.budget import STRATEGIES
from lth.storage.checkpoint import load_checkpoint
from tests.support.harness import train, train_apart, train_on_ranks
from tests.support.left import curves, rows, state
from tests.support.tiers import engine_but

pytestmark = pytest.mark.slow

ONE = "method=dense", "recipe/schedule=triangular", "recipe.schedule_every=step"
LADDER = "sparsity=list", "sparsity.densities=[0.5,0.3]"
FOUR = "recipe.epochs=4", "recipe.cycles.n=2"


def checkpoint(folder: Path, level: int = 0) -> dict:
    return load_checkpoint(sorted(folder.glob("level_*"))[level] / "last.ckpt")


def rates(folder: Path) -> list[float]:
    return [float(row["lr"]) for row in curves(folder)]


def test_one_cycle_is_a_plain_level(tmp_path):
    train(tmp_path / "plain", *LADDER)
    for index, strategy in enumerate(STRATEGIES):
        own = f"recipe.cycles.strategy={strategy}", f"recipe.cycles.rounding={('exact', 'floor')[index % 2]}"
        train(tmp_path / strategy, *LADDER, "recipe.cycles.n=1", "recipe.cycles.skip_warmup=true", *own)
        assert state(tmp_path / strategy) == state(tmp_path / "plain")


def test_the_first_cycle_is_a_plain_level_of_its_length(tmp_path):
    cycled = "recipe.epochs=5", "recipe.cycles.n=2", "recipe.cycles.strategy=linear_increase"  # 2 and 3 epochs
    train(tmp_path / "cycles", *ONE, *cycled, "method.rewind=2ep")  # saves the state after two epochs
    train(tmp_path / "plain", *ONE, "recipe.epochs=2")
    saved = load_checkpoint(tmp_path / "cycles" / "rewind.ckpt")["weights"]
    trained = checkpoint(tmp_path / "plain")["state_dict"]
    assert all(torch.equal(value, trained[f"net.{name}"]) for name, value in saved.items())


def test_each_cycle_has_a_whole_schedule_of_its_own_length(tmp_path):
    every = "method=dense", "recipe/schedule=cosine", "recipe.schedule_every=epoch", "recipe.lr=0.1"
    train(tmp_path / "cycles", *every, "recipe.epochs=6", "recipe.cycles.n=3", "recipe.cycles.strategy=linear_decrease")
    for length in (3, 2, 1):
        train(tmp_path / f"plain{length}", *every, f"recipe.epochs={length}")
    plain = [rate for length in (3, 2, 1) for rate in rates(tmp_path / f"plain{length}")]
    assert rates(tmp_path / "cycles") == plain
    assert [row["cycle"] for row in curves(tmp_path / "cycles")] == list("000112")
    assert rows(tmp_path / "cycles")[0]["cycles"] == "3"
    assert "cycle" not in curves(tmp_path / "plain3")[0]


def test_only_the_first_cycle_warms_up_where_that_is_asked(tmp_path):
    every = "method=dense", "recipe/schedule=constant", "recipe.schedule.warmup=2", "recipe.lr=0.1"
    train(tmp_path, *every, "recipe.epochs=6", "recipe.cycles.n=2", "recipe.cycles.skip_warmup=true")
    assert rates(tmp_path) == pytest.approx([0.05, 0.1, 0.1, 0.1, 0.1, 0.1])


@pytest.mark.parametrize(("optimizer", "steps"), [("fresh", 8), ("keep", 16)])
def test_the_optimizer_forgets_at_a_cycles_start_or_keeps(optimizer, steps, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "shrink_finished", lambda *_: None)  # which would remove the optimizer's state
    train(tmp_path, *ONE, *FOUR, "recipe/optimizer=adamw", f"recipe.cycles.optimizer={optimizer}")
    states = checkpoint(tmp_path)["optimizer_states"][0]["state"].values()  # AdamW counts its steps
    assert {int(s["step"]) for s in states} == {steps}


def test_a_fresh_optimizer_makes_a_difference(tmp_path):
    for optimizer in ("fresh", "keep"):
        train(tmp_path / optimizer, *ONE, *FOUR, f"recipe.cycles.optimizer={optimizer}")
    assert state(tmp_path / "fresh") != state(tmp_path / "keep")


KILLED = {  # four optimizer steps an epoch: options, and steps of a later cycle, its first among them, to die in
    "ema": (["recipe.ema=0.9", *FOUR, *LADDER], [9, 27]),
    "adamw": (["recipe/optimizer=adamw", *FOUR, *LADDER], [13]),
    "within an epoch": (["recipe.epochs=null", "recipe.steps=10", "recipe.cycles.n=3", *LADDER], [6, 16]),
    "accumulating": (["recipe.accumulate=3", *FOUR, *LADDER], [14]),
    "rewound": (["method=wr", "method.rewind=3ep", "method.schedule=continue", *FOUR, *LADDER], [19]),
    "moving masks": (["method=rigl", "method.every=2", "sparsity.density=0.3", *FOUR], [15]),
}


@pytest.mark.parametrize("name", engine_but(KILLED, "ema", "moving masks"))
def test_killed_in_a_later_cycle_and_restarted_equals_uninterrupted(name, tmp_path):
    overrides, kills = KILLED[name]
    train(tmp_path / "whole", *overrides)
    for step in kills:
        assert train_apart(tmp_path / f"killed{step}", overrides, ("step", step)) == -9
        train(tmp_path / f"killed{step}", *overrides)
        assert state(tmp_path / f"killed{step}") == state(tmp_path / "whole"), step


def test_two_ranks_train_the_cycles_of_one_process(tmp_path):
    overrides = [*FOUR, *LADDER, "recipe.ema=0.9"]
    assert train_on_ranks(tmp_path / "two", overrides) == [0, 0]
    train(tmp_path / "one", *overrides)
    for level in range(3):
        one, two = (checkpoint(tmp_path / name, level)["state_dict"] for name in ("one", "two"))
        assert all(torch.allclose(two[k], one[k], atol=1e-5) for k in one)


def test_a_total_is_spread_over_the_levels(tmp_path):
    total = "recipe.epochs=null", "recipe.total_epochs=12", "recipe.level_strategy=linear_decrease"
    train(tmp_path, "method=wr", "method.rewind=5ep", *LADDER, *total)  # a point that later levels do not have
    assert [float(row["epochs"]) for row in rows(tmp_path)] == [6, 4, 2]
    assert [int(row["step"]) for row in curves(tmp_path)] == [4 * (i + 1) for i in range(12)]


def test_levels_of_a_total_have_cycles_of_their_own(tmp_path):
    total = "recipe.epochs=null", "recipe.total_epochs=12", "recipe.level_strategy=linear_decrease"
    train(tmp_path, *LADDER, *total, "recipe.cycles.n=2")
    assert [row["cycle"] for row in curves(tmp_path)] == list("000111001101")


def test_a_single_schedule_falls_over_all_levels(tmp_path):
    every = "recipe/schedule=cosine", "recipe.schedule_every=epoch", "recipe.lr=0.1"
    train(tmp_path / "levels", "method=lrr", "method.schedule=single", *LADDER, *every, "recipe.epochs=3")
    train(tmp_path / "one", "method=dense", *every, "recipe.epochs=9")
    assert rates(tmp_path / "levels") == rates(tmp_path / "one")
    assert [float(row["epochs"]) for row in rows(tmp_path / "levels")] == [3, 3, 3]


def test_sculpting_trains_a_random_mask_in_cycles_prunes_once_and_trains_once_more(tmp_path):
    chosen = "method=sculpting", "support=erk", "support.density=0.6", "sparsity.density=0.3", *FOUR
    train(tmp_path, *chosen, "method.final_recipe.epochs=3", "recipe/schedule=cosine", "recipe.lr=0.1")
    first, last = rows(tmp_path)
    assert (first["cycles"], last["cycles"]) == ("2", "")
    assert [float(row["epochs"]) for row in (first, last)] == [4, 3]
    assert [row["stage"] for row in (first, last)] == ["train", "final"]
    assert float(first["density"]) == pytest.approx(0.6, abs=1e-3)
    assert float(last["density"]) == pytest.approx(0.3, abs=1e-3)
    assert rates(tmp_path)[0] == rates(tmp_path)[2] == rates(tmp_path)[4]


IMPOSSIBLE = {
    "recipe.cycles.n=4": "3 in 4 parts",
    "recipe.cycles.n=0": "n=0: a budget",
    "recipe.cycles.n=2 recipe.cycles.strategy=quadratic": "'quadratic' is not one of .*'plateau'",
    "recipe.cycles.rounding=up": "'up' is not one of",
    "recipe.cycles.optimizer=half": "'half' is not one of",
    "recipe.total_epochs=9": "exactly one of recipe.epochs=3",
    "recipe.epochs=2.5": "must be a whole number",
    "recipe.epochs=null recipe.total_epochs=2": "recipe.total_epochs over the levels: 2 in",
    "recipe.epochs=null recipe.total_epochs=80 recipe.level_strategy=up": "level_strategy 'up' is not one of",
    "recipe.epochs=null recipe.total_epochs=80 method.final_recipe.lr=0.1": "a level of another kind needs",
    "method=gem_miner recipe.epochs=null recipe.total_epochs=8": "a level of another kind needs",
    "method.schedule=single recipe.cycles.n=2": "recipe.cycles.n must be 1",
    "method=dense method.final_recipe.epochs=3": "this method has one level",
    "recipe.schedule_late=-1": "must be at least 0",
}


@pytest.mark.parametrize("override", IMPOSSIBLE)
def test_what_cannot_work_fails_before_training(override, tmp_path):
    with pytest.raises(Exception, match=IMPOSSIBLE[override]) as caught:
        train(tmp_path, *override.split())
    assert isinstance(caught.value.__cause__ or caught.value, ValueError)
    assert not list(tmp_path.glob("level_*")), "training had begun"
