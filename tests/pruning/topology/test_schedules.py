"""Drop fractions, densities and moments of change: the values of the papers, exact at both ends."""

from functools import partial

import pytest

from lth.pruning import paths
from lth.pruning.timing import PruningSteps, UpdateSteps
from lth.pruning.topology import fraction

ITOP = partial(fraction.cosine, start=0.5, end=0.005)
FRACTIONS = {
    "itop": (ITOP, [0.5, 0.427509, 0.2525, 0.077491, 0.005]),
    "rigl": (partial(fraction.cosine, start=0.3), [0.3, 0.256066, 0.15, 0.043934, 0.0]),
    "constant": (fraction.constant, [0.3] * 5),
    "linear": (partial(fraction.linear, start=0.4, end=0.2), [0.4, 0.35, 0.3, 0.25, 0.2]),
    "exponential": (partial(fraction.exponential, start=0.32), [0.32, 0.135, 0.04, 0.005, 0.0]),
}


@pytest.mark.parametrize("name", FRACTIONS)
def test_drop_fractions_at_quarters_of_their_schedule(name: str):
    schedule, values = FRACTIONS[name]
    assert [round(schedule(x), 6) for x in (0, 0.25, 0.5, 0.75, 1)] == values


def densities(start: float, end: float, times: PruningSteps, numbers: list[int]) -> list[float]:
    """After update number c, to six digits."""
    return [round(paths.cubic(times.progress(c * times.every), start, end), 6) for c in numbers]


def test_granets_densities_at_450_steps_an_epoch():
    times = PruningSteps(1000, 0, 110 * 450)
    assert times.progress(48_000) < times.progress(49_000) == 1
    expected = [0.473007, 0.447116, 0.375823, 0.276891, 0.109765, 0.050004, 0.05]
    assert densities(0.5, 0.05, times, [1, 2, 5, 10, 24, 48, 49]) == expected


def test_granets_densities_at_352_steps_an_epoch():
    times = PruningSteps(1000, 0, 80 * 352)
    assert times.progress(27_000) < times.progress(28_000) == 1
    assert densities(0.5, 0.1, times, [1, 14, 27, 28]) == [0.458655, 0.15, 0.100018, 0.1]


def test_gradual_pruning_in_ten_steps():
    expected = [1, 0.7561, 0.5608, 0.4087, 0.2944, 0.2125, 0.1576, 0.1243, 0.1072, 0.1009, 0.1]
    assert densities(1, 0.1, PruningSteps(10, 0, 100), list(range(11))) == expected


@pytest.mark.parametrize(("last", "share"), [(49, 8.5e-6), (5, 0.008)])
def test_as_published_ends_one_update_early_and_a_little_above_the_density(last: int, share: float):
    times = PruningSteps(10, 0, 10 * last, as_published=True)
    due = [t for t in range(10 * last + 20) if times.due(t)]
    assert due[-1] == 10 * (last - 1)
    above = (paths.cubic(times.progress(due[-1]), 0.5, 0.05) - 0.05) / 0.45
    assert above == pytest.approx(1 / last**3)
    assert above == pytest.approx(share, rel=0.01)


@pytest.mark.parametrize("path", [paths.cubic, paths.linear, paths.exponential, paths.at_once])
def test_every_path_falls_from_exactly_its_start_to_exactly_its_end_and_stays(path):
    values = [path(x / 100, 0.7, 0.03) for x in range(101)]
    assert values[0] == 0.7
    assert values == sorted(values, reverse=True)
    assert {path(x, 0.7, 0.03) for x in (1, 1.001, 50)} == {0.03}
    assert path(-1, 0.7, 0.03) == 0.7


def test_an_exponential_path_removes_the_same_share_at_every_moment():
    assert paths.exponential(0.5, 0.8, 0.2) == pytest.approx(0.4)


def test_a_start_below_the_path_waits_until_the_path_has_come_down():
    """A balanced support that realises .265934 where .5 was asked for is first pruned at progress .217."""
    below = [x / 10000 for x in range(10001) if paths.cubic(x / 10000, 0.5, 0.05) < 0.265934]
    assert below[0] == pytest.approx(0.217, abs=5e-4)


def test_prunings_are_over_the_whole_range_and_once_before_it():
    times = PruningSteps(4, 8, 21)
    assert [t for t in range(40) if times.due(t)] == [8, 12, 16, 20]
    assert [times.progress(t) for t in (0, 8, 12, 20, 100)] == [0, 0, pytest.approx(1 / 3), 1, 1]


def test_moves_are_at_multiples_from_begin_until_before_stop():
    moves = UpdateSteps(20, 40, 120)
    assert [t for t in range(1, 200) if moves.due(t)] == [40, 60, 80, 100]


def test_no_move_follows_the_last_step_of_all():
    """160 epochs of 450 steps are 72,000 steps. No update follows step 72,000: nothing would be trained after it."""
    moves = UpdateSteps(1000, 0, 160 * 450)
    assert sum(moves.due(t) for t in range(1, 160 * 450 + 1)) == 71


def test_how_long_until_the_next_move():
    moves = UpdateSteps(20, 40, 120)
    assert [moves.until(t) for t in (21, 39, 40, 41, 99, 100)] == [19, 1, 0, 19, 1, 0]
    assert min(moves.until(t) for t in (1, 101, 120, 5000)) > 10**9  # the next multiple of 20 is no update


@pytest.mark.parametrize("points", [(100, 0, 100), (0, 0, 100), (60, 70, 110), (100, 0, 0)])
def test_moves_that_would_never_happen_are_refused(points: tuple[int, int, int]):
    with pytest.raises(ValueError, match="no update every"):
        UpdateSteps(*points)


@pytest.mark.parametrize("points", [(100, 0, 99), (0, 0, 100), (10, 50, 55)])
def test_prunings_that_would_never_happen_are_refused(points: tuple[int, int, int]):
    with pytest.raises(ValueError, match="no pruning every"):
        PruningSteps(*points)
