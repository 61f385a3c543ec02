"""The benchmarks alternate arms, time equal steps, and compare arms that compute the same result."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks.__main__ import main, names
from benchmarks.cases import LENET, RESNET20, UNPRUNED, timed_level
from benchmarks.clock import Lap
from benchmarks.comparisons import alternatives, topk
from benchmarks.interleave import Arm, Comparison, Measured, measure
from benchmarks.level import PlainStep
from benchmarks.ratio import median_interval, ratio_of
from benchmarks.setting import Setting, find_device

QUICK = Setting(torch.device("cpu"), quick=True)


@pytest.fixture(autouse=True)
def _keep_threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def fake(name, clock, seconds=1.0, **options):
    """An arm whose turn takes `seconds` * (1 + drift * n), where n counts the turns of all arms in `clock`."""

    def turn():
        clock.turns.append(name)
        clock.now += 1
        return seconds * (1 + clock.drift * clock.now)

    return Arm(name, turn, **options)


@pytest.fixture
def clock():
    return SimpleNamespace(turns=[], now=0, drift=0.0)


def noisy(rng, rounds):
    """Seconds of rounds with noise of a long upper tail, as on a busy machine."""
    return list(rng.lognormal(0, 0.05, rounds))


def compared(first, second):
    """The ratio of two arms that took these seconds in each round."""
    arms = [Arm(name, turn=float) for name in "AB"]
    return ratio_of(Measured(Comparison("fake", arms), {"A": first, "B": second}), *arms)


@pytest.mark.slow
@pytest.mark.parametrize(("arms", "order"), [("AB", "ABBA"), ("ABC", "ABCCBA")])
def test_every_round_goes_there_and_back_after_one_turn_of_each(arms, order, clock):
    measure(Comparison("fake", [fake(name, clock) for name in arms]), rounds=5)
    assert "".join(clock.turns) == arms + 5 * order


@pytest.mark.slow
def test_warming_up_is_not_counted_and_a_round_is_two_turns(clock):
    measured = measure(Comparison("fake", [fake("A", clock, 1), fake("B", clock, 3)]), rounds=5)
    assert measured.rounds == {"A": [2] * 5, "B": [6] * 5}


@pytest.mark.slow
def test_a_steady_slowing_down_cancels_out(clock):
    clock.drift = 0.3
    arms = [fake("A", clock), fake("B", clock)]
    ratio = ratio_of(measure(Comparison("fake", arms), rounds=5), *arms)
    assert ratio == pytest.approx([1] * 5)


@pytest.mark.slow
def test_an_arm_that_does_less_work_in_a_turn_is_not_taken_for_a_faster_one(clock):
    arms = [fake("A", clock, 2, work=100), fake("B", clock, 1, work=10)]
    assert ratio_of(measure(Comparison("fake", arms), rounds=5), *arms).median == pytest.approx(5)


@pytest.mark.slow
def test_the_interval_of_identical_arms_contains_1():
    rng = np.random.default_rng(0)
    ratios = [compared(noisy(rng, 15), noisy(rng, 15)) for _ in range(40)]
    assert all(r.least <= r.low <= r.median <= r.high <= r.most for r in ratios)
    assert sum(r.low <= 1 <= r.high for r in ratios) >= 36  # 95% of 40 is 38


def test_the_interval_of_an_arm_twice_as_fast_does_not_contain_1():
    rng = np.random.default_rng(0)
    ratio = compared(noisy(rng, 5), [2 * seconds for seconds in noisy(rng, 5)])
    assert 1.8 < ratio.low <= ratio.median <= ratio.high < 2.2


def test_the_interval_is_the_same_every_time_and_a_point_where_nothing_varies():
    values = noisy(np.random.default_rng(0), 9)
    assert median_interval(values) == median_interval(values)
    assert median_interval([1.5] * 5) == (1.5, 1.5)


def test_a_lap_is_the_time_between_two_batches(monkeypatch):
    lap = Lap(first=2, steps=3, device=torch.device("cpu"))
    ticks = iter([10.0, 14.0])
    monkeypatch.setattr("benchmarks.clock.now", lambda device: next(ticks))
    assert [lap.reach(batch) for batch in range(7)] == [False] * 5 + [True] * 2
    assert lap.seconds == 4


@pytest.mark.engine
@pytest.mark.parametrize("name", names())
def test_every_comparison_runs_and_gives_ratios_that_make_sense(name, tmp_path, capsys):
    main([name, "--quick", "--rounds", "1", "--device", "cpu", "--json", str(tmp_path / "out.json")])
    record = json.loads((tmp_path / "out.json").read_text())
    ratios = [ratio for finding in record["findings"] for ratio in finding["ratios"].values()]
    assert ratios
    assert all(0 < value < math.inf for ratio in ratios for value in ratio.values())
    assert all(len(arm["seconds"]) == 1 for finding in record["findings"] for arm in finding["arms"].values())
    shown = capsys.readouterr().out
    assert all(f"| {name}, {finding['title']}" in shown for finding in record["findings"])


@pytest.mark.parametrize("wrong", [["toppk"], ["--rounds", "0"], ["--threads", "0"]])
def test_mistakes_on_the_command_line_are_refused_with_what_is_valid(wrong, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(wrong)
    message = capsys.readouterr().err
    assert "topk" in message if wrong == ["toppk"] else "1 or more" in message


def test_a_device_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert find_device("auto").type == "cpu"
    with pytest.raises(ValueError, match="cuda"):
        find_device("cuda")


@pytest.mark.engine
@pytest.mark.parametrize("case", [RESNET20, LENET], ids=lambda case: case.title)
def test_lth_and_the_loop_by_hand_train_on_the_same_batches_to_the_same_weights(case):
    with timed_level(case, QUICK, *UNPRUNED) as level:
        by_hand = PlainStep(level.fresh(), level.masks, level.recipe)
        for batch in level.loader():
            by_hand(*batch)
        assert level.by_lth() > 0
        assert level.by_lth() > 0  # from the start, not from the checkpoint of the previous turn
    for name, value in by_hand.net.state_dict().items():
        assert torch.equal(value, level.net.state_dict()[name]), name


@pytest.mark.engine
@pytest.mark.parametrize("turn", ["by_lth", "by_hand"])
def test_both_loops_are_timed_over_the_same_batches(turn, monkeypatch):
    with timed_level(LENET, QUICK, *UNPRUNED) as level:
        reached = []

        def reach(batch):
            reached.append(batch)
            return batch >= level.lap.last

        monkeypatch.setattr(level.lap, "reach", reach)
        level.by_lth() if turn == "by_lth" else level.by_hand(PlainStep, level.masks)
        assert reached == list(range(level.lap.last + 1))
        assert level.images == level.recipe.batch_size * (len(reached) - 1 - level.lap.first)


def trained(level, way, masks, steps=3):
    """The kept weights after a few steps with one way of masking."""
    step = way(level.fresh(), masks, level.recipe)
    for (x, labels), _ in zip(level.loader(), range(steps), strict=False):
        step(x, labels)
    parameters = dict(step.net.named_parameters())
    return {name: parameters.get(f"{name}_orig", parameters.get(name)) * mask for name, mask in masks.items()}


@pytest.mark.engine
@pytest.mark.parametrize("case", [RESNET20, LENET], ids=lambda case: case.title)
def test_all_ways_of_masking_train_the_same_network(case):
    with timed_level(case, QUICK, *UNPRUNED) as level:
        masks = alternatives.random_masks(level)
        assert masks.density == pytest.approx(alternatives.DENSITY, rel=1e-3)
        ours, *others = (trained(level, way, masks) for way in alternatives.WAYS.values() if way is not PlainStep)
    assert len(others) == 2
    for name in masks:
        for other in others:
            torch.testing.assert_close(other[name], ours[name], rtol=1e-4, atol=1e-5)


@pytest.mark.engine
@pytest.mark.parametrize(("case", "layers"), [(RESNET20, 22), (LENET, 3)], ids=lambda each: getattr(each, "title", ""))
def test_masks_cost_lth_two_operations_and_the_others_two_a_layer_or_nearly(case, layers):
    with timed_level(case, QUICK, *UNPRUNED) as level:
        masks = alternatives.random_masks(level)
        ops = {way: alternatives.ops_per_step(level, way, masks) for way in alternatives.WAYS.values()}
    plain = ops.pop(PlainStep)
    assert ops.pop(alternatives.KeptWeightsStep) == plain + 2
    assert all(count == plain + 2 * layers for count in ops.values())


@pytest.mark.parametrize("way", topk.THRESHOLDS)
def test_thresholds_mark_what_lth_marks_when_scores_tie(way):
    scores = {"a": torch.tensor([3.0, 1.0, 1.0]), "b": torch.tensor([[1.0, 0.5], [4.0, 1.0]])}
    marked = topk.by_threshold(topk.THRESHOLDS[way], scores, 4)
    assert marked["a"].tolist() == [True, True, True]
    assert marked["b"].tolist() == [[False, False], [True, False]]
    topk.check_equal({way: marked, "lth": topk.largest(scores, 4)})


def test_ways_that_mark_different_scores_are_not_timed():
    with pytest.raises(AssertionError, match="differ"):
        topk.check_equal({"a": {"x": torch.tensor([True])}, "b": {"x": torch.tensor([False])}})
