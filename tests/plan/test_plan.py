"""Plans: points in training as people write them, and the levels that follow from them."""

from pathlib import Path

import pytest

from lth.plan import Budget, Level, ladder, search, single, steps_of

BUDGET = Budget(horizon=1000, epoch=50)  # twenty epochs
BUDGETS = {"train": BUDGET}
DENSITIES = [1.0, 0.8, 0.64]
FOLDER = Path("runs")


@pytest.mark.parametrize(
    ("point", "steps"),
    [
        (None, None),
        (0, 0),
        (500, 500),
        ("0", 0),
        ("500", 500),
        ("500it", 500),
        ("0it", 0),
        ("0ep", 0),
        ("1ep", 50),  # after one full epoch
        ("2ep", 100),
        ("20ep", 1000),  # the level's end is a point, too
        (1000, 1000),
        ("0%", 0),
        ("5%", 50),
        ("33%", 330),
        ("100%", 1000),
    ],
)
def test_a_point_is_steps_epochs_or_a_percentage_of_the_level(point, steps):
    assert steps_of(point, BUDGET) == steps


def test_a_percentage_is_rounded_to_the_nearest_step():
    assert steps_of("5%", Budget(469, 469)) == 23  # 23.45
    assert steps_of("50%", Budget(469, 469)) in (234, 235)
    assert steps_of("99%", Budget(469, 469)) == 464  # 464.31


def test_a_distance_in_percent_is_one_step_or_more():
    assert steps_of("2%", Budget(340, 17), distance=True) == 7
    assert steps_of("2%", Budget(10, 5), distance=True) == 1
    assert steps_of("2%", Budget(10, 5)) == 0
    assert steps_of(0, BUDGET, distance=True) == 0  # a number is taken as it is


@pytest.mark.parametrize("point", [1001, "1001", "1001it", "21ep", "101%"])
def test_a_point_beyond_the_levels_end_is_refused(point):
    with pytest.raises(ValueError, match=rf"point '?{point}'? is step (10\d\d|1050), but a level has 1000 steps"):
        steps_of(point, BUDGET)


@pytest.mark.parametrize(
    "point",
    [
        *[-1, "-1", "-2ep", "", "ep", "it", "%", "2 ep", " 2ep", "2EP", "2epochs", "2.5ep", 2.0],
        *["1e3", "0x1", "1_0", "²", "five", "5%%", "ep2", "2ep3it", True, False, [2]],
    ],
)
def test_a_point_that_is_none_is_refused_with_the_forms_there_are(point):
    with pytest.raises(ValueError, match="is not of the form 0, '500it', '2ep' or '5%'"):
        steps_of(point, BUDGET)


def test_equal_levels_one_a_density():
    levels = ladder(DENSITIES, FOLDER, BUDGETS)
    assert [level.index for level in levels] == [0, 1, 2]
    assert [level.density for level in levels] == DENSITIES
    assert {(level.first_step, level.steps, level.hold, level.stage) for level in levels} == {(0, 1000, False, "train")}
    assert all(level.budget == BUDGET for level in levels)
    assert [level.first for level in levels] == [True, False, False]


def test_folders_are_named_by_number_and_density():
    levels = ladder([1.0, 0.8, 0.8**2, 0.8**11, 0.044, 1e-5], FOLDER, BUDGETS)
    assert [level.folder.name for level in levels] == [
        "level_00_dense",
        "level_01_density_0.8",
        "level_02_density_0.64",
        "level_03_density_0.0859",
        "level_04_density_0.044",
        "level_05_density_1e-05",
    ]
    assert {level.folder.parent for level in levels} == {FOLDER}


def test_folders_of_a_long_and_fine_ladder_are_all_different():
    levels = ladder([1 - i * 1e-6 for i in range(120)], FOLDER, BUDGETS)
    assert len({level.folder for level in levels}) == 120


@pytest.mark.parametrize(
    ("schedule", "rewind", "first_step", "steps", "hold"),
    [
        ("restart", None, 0, 1000, False),
        ("restart", 0, 0, 1000, False),
        ("restart", "2ep", 0, 1000, False),
        ("continue", 0, 0, 1000, False),
        ("continue", "2ep", 100, 900, False),
        ("continue", "5%", 50, 950, False),
        ("continue", 999, 999, 1, False),
        ("hold", None, 999, 1000, True),
        ("hold", "2ep", 999, 1000, True),
    ],
)
def test_the_learning_rate_restarts_continues_or_is_held_after_a_pruning(schedule, rewind, first_step, steps, hold):
    dense, *later = ladder(DENSITIES, FOLDER, BUDGETS, rewind, schedule)
    assert (dense.first_step, dense.steps, dense.hold) == (0, 1000, False)  # level 0 is always full length
    assert {(level.first_step, level.steps, level.hold) for level in later} == {(first_step, steps, hold)}
    assert all(level.first_step < BUDGET.horizon for level in later)


@pytest.mark.parametrize("rewind", [None, "20ep", 1000, "100%"])
def test_nothing_is_left_to_continue_without_a_point_before_the_end(rewind):
    with pytest.raises(ValueError, match="needs a rewind point before the level's end"):
        ladder(DENSITIES, FOLDER, BUDGETS, rewind, "continue")


@pytest.mark.parametrize("schedule", ["resume", "Restart", "", None])
def test_an_unknown_phase_is_refused(schedule):
    with pytest.raises(ValueError, match="is not one of 'restart', 'continue', 'hold'"):
        ladder(DENSITIES, FOLDER, BUDGETS, 0, schedule)


@pytest.mark.parametrize("schedule", ["restart", "continue", "hold"])
def test_a_rewind_beyond_the_levels_end_is_refused_before_any_level(schedule):
    with pytest.raises(ValueError, match="but a level has 1000 steps"):
        ladder(DENSITIES, FOLDER, BUDGETS, "21ep", schedule)


def test_a_single_level_is_the_ladders_last_at_full_length():
    assert single(DENSITIES, FOLDER, BUDGETS, rewind="2ep", schedule="continue") == [
        Level(0, "density_0.64", 0.64, "train", FOLDER / "level_00_density_0.64", 0, 1000, BUDGET)
    ]
    assert single([1.0], FOLDER, BUDGETS)[0].name == "dense"


def test_a_ladder_that_starts_below_one_begins_with_a_pruned_level():
    levels = ladder([0.2, 0.1], FOLDER, BUDGETS, "2ep", "continue")
    assert levels[0].name == "density_0.2"
    assert (levels[0].first_step, levels[0].steps) == (0, 1000)


def test_a_search_takes_each_density_after_the_first_and_ends_at_the_last():
    budgets = dict.fromkeys(("warm", "search", "finetune"), BUDGET)
    levels = search(DENSITIES, FOLDER, budgets, warm="2ep")
    found = [(level.stage, level.density) for level in levels]
    assert found == [("warm", 1.0), ("search", 0.8), ("search", 0.64), ("finetune", 0.64)]
    assert [level.density for level in search([0.3], FOLDER, budgets)] == [0.3, 0.3]
