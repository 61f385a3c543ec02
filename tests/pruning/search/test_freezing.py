"""When weights freeze out of a search, how many, and what ties do."""

import math

import pytest
import torch

from lth.pruning import Masks
from lth.pruning.search.events import EventOptions, EventSchedule
from lth.pruning.search.freezing import FreezeBelow, Freezing
from lth.pruning.seeds import generator

# epochs, period -> events and the fraction of active weights that each removes on the way to 0.0144
RATES = {
    (150, 5): (29, 0.1360),
    (150, 8): (18, 0.2099),
    (150, 10): (14, 0.2613),
    (200, 5): (39, 0.1030),
    (200, 10): (19, 0.2000),
    (200, 20): (9, 0.3757),
    (300, 5): (59, 0.0694),
    (50, 5): (9, 0.3757),
    (88, 8): (10, 0.3456),
}
RESNET20 = (432, *[2304] * 6, 4608, *[9216] * 5, 18432, *[36864] * 5, 640)


def flags(*sizes: int) -> Masks:
    return Masks({f"layer{i}.weight": torch.ones(size) for i, size in enumerate(sizes)})


def distinct(masks: Masks, seed: int = 0) -> dict[str, torch.Tensor]:
    order = torch.randperm(masks.total, generator=generator("scores", seed)).double() / masks.total
    return dict(zip(masks, order.split([m.numel() for m in masks.values()]), strict=True))


@pytest.mark.parametrize(("epochs", "period"), RATES)
def test_events_and_their_rate_are_the_published_ones(epochs: int, period: int):
    events, rate = RATES[epochs, period]
    schedule = EventSchedule(epochs, period, 1.0, 0.0144)
    assert schedule.total == events
    assert 1 - schedule.density(1) == pytest.approx(rate, abs=5e-5)


@pytest.mark.slow
def test_the_number_of_events_is_that_of_the_epochs_they_follow():
    for epochs in range(2, 301):
        for period in range(1, 51):
            if epochs <= period:
                continue
            schedule = EventSchedule(epochs, period, 1.0, 0.5)
            follows = sum(schedule.done(epoch + 1) > schedule.done(epoch) for epoch in range(epochs))
            by_hand = sum(epoch > 0 and epoch % period == 0 for epoch in range(epochs))
            assert schedule.total == follows == by_hand == (epochs - 1) // period


@pytest.mark.slow
def test_resnet20_at_its_published_schedule_ends_at_3861_weights():
    masks = flags(*RESNET20)
    assert masks.total == 268_336
    scores, schedule, freezing = distinct(masks), EventSchedule(150, 5, 1.0, 0.0144), Freezing()
    for event in range(1, schedule.total + 1):
        before = masks.clone()
        masks = freezing(scores, before, schedule.left(before.kept, event, before.total))
        assert before.kept - masks.kept == math.ceil((1 - 0.0144 ** (1 / 29)) * before.kept)
        assert all((masks[name] <= before[name]).all() for name in masks)
    assert masks.kept == 3861
    assert masks.density == pytest.approx(0.014389, abs=5e-7)


@pytest.mark.parametrize(("ties", "left"), [("exact", 0.86396), ("all", 0.499)])
def test_half_the_scores_at_zero_lose_as_many_as_asked_or_all_of_them(ties: str, left: float):
    masks = flags(60_000, 40_000)
    scores = {name: score + 1e-3 for name, score in distinct(masks).items()}
    for name, score in scores.items():
        score[distinct(masks, seed=1)[name] < 0.501] = 0.0
    asked = EventSchedule(150, 5, 1.0, 0.0144).left(masks.kept, 1, masks.total)
    kept = Freezing(ties=ties)(scores, masks, asked)
    assert kept.density == pytest.approx(left, abs=5e-6 if ties == "exact" else 1e-9)


def test_exact_ties_go_to_the_lower_index_and_the_largest_go_when_inverted():
    masks = flags(4)
    kept = Freezing()({"layer0.weight": torch.tensor([0.0, 0.0, 0.0, 1.0])}, masks, 2)
    assert kept["layer0.weight"].tolist() == [1, 0, 0, 1]
    kept = Freezing(which="largest")({"layer0.weight": torch.tensor([0.1, 0.2, 0.3, 0.4])}, masks, 2)
    assert kept["layer0.weight"].tolist() == [1, 1, 0, 0]


def test_a_weight_that_is_out_stays_out_however_its_score_grows():
    masks = flags(6)
    first = Freezing()({"layer0.weight": torch.arange(6.0)}, masks, 3)
    second = Freezing()({"layer0.weight": -torch.arange(6.0)}, first, 2)
    assert second["layer0.weight"].tolist() == [0, 0, 0, 1, 1, 0]


def test_a_threshold_takes_ties_with_it_and_what_is_out_stays_out():
    masks = flags(4, 3)
    masks["layer1.weight"][2] = 0
    scores = {"layer0.weight": torch.tensor([0.0, 0.5, 0.51, 1.0]), "layer1.weight": torch.tensor([0.4, 0.6, 1.0])}
    left = FreezeBelow()(scores, masks, left=7)
    assert [m.tolist() for m in left.values()] == [[0, 0, 1, 1], [0, 1, 0]]
    assert [m.tolist() for m in masks.values()] == [[1, 1, 1, 1], [1, 1, 0]]
    assert FreezeBelow(at=0.0)(scores, masks, left=7).kept == 5


def test_scope_layer_takes_the_same_share_of_every_layer():
    masks = flags(100, 1000)
    scores = {"layer0.weight": torch.rand(100) + 1, "layer1.weight": torch.rand(1000)}  # global would spare layer 0
    kept = Freezing(scope="layer")(scores, masks, 1100 - 330)
    assert kept.kept_by_layer() == {"layer0.weight": 70, "layer1.weight": 700}
    assert Freezing()(scores, masks, 770).kept_by_layer()["layer0.weight"] == 100


@pytest.mark.parametrize("shape", ["geometric", "linear", "cubic", "one_shot"])
def test_every_shape_falls_from_start_to_end_exactly(shape: str):
    schedule = EventSchedule(60, 2, 0.9, 0.05, shape=shape)
    path = [schedule.density(event) for event in range(schedule.total + 1)]
    assert path[0] == 0.9
    assert path[-1] == 0.05
    assert path == sorted(path, reverse=True)


def test_epochs_are_left_after_the_last_event_when_asked():
    schedule = EventSchedule(150, 5, 1.0, 0.0144, until=0.8)
    last = max(epoch for epoch in range(150) if schedule.done(epoch + 1) > schedule.done(epoch))
    assert last == 115
    assert schedule.density(schedule.done(120)) == 0.0144


@pytest.mark.parametrize(
    ("period", "epochs", "expected"), [("3.3%", 150, 5), ("3.3%", 20, 1), ("10%", 20, 2), (5, 150, 5)]
)
def test_a_period_is_a_number_of_epochs_or_percent_of_the_search(period, epochs, expected):
    assert EventOptions(period).schedule(epochs, 1.0, 0.1) == EventSchedule(epochs, expected, 1.0, 0.1)
    with pytest.raises(ValueError, match="period='soon': must be a number of epochs, or percent"):
        EventOptions("soon").schedule(epochs, 1.0, 0.1)


@pytest.mark.parametrize(
    "wrong", [{"period": 0}, {"until": 0.0}, {"until": 1.5}, {"shape": "square"}, {"epochs": 3, "period": 5}]
)
def test_schedules_that_make_no_sense_are_refused(wrong: dict):
    with pytest.raises(ValueError, match=r"period|event|until|shape"):
        EventSchedule(**{"epochs": 10, "period": 2, "start": 1.0, "end": 0.1, **wrong})


@pytest.mark.parametrize("wrong", [{"scope": "net"}, {"which": "median"}, {"ties": "some"}])
def test_unknown_freezing_is_refused_with_the_valid_names(wrong: dict):
    with pytest.raises(ValueError, match="is not one of"):
        Freezing(**wrong)
