"""Learning-rate schedules: the published values, to the last step, and milestones that nothing moves."""

import math
from functools import partial

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR

from lth.training.schedules import (
    Clock,
    Clocks,
    _without_warmup,
    constant,
    cosine,
    imagenet_drops,
    multistep,
    one_cycle,
    schedule_free,
    trapezoidal,
    triangular,
)

EPOCH = 97
TOTAL = 150 * EPOCH


def by_torch(scheduler, steps, **options):
    """The factors that a scheduler of torch gives to a base rate of 1."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0, momentum=0.9)
    scheduler = scheduler(optimizer, **options)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize(
    ("step", "rate"), [(0, 0.04), (1455, 0.12), (2910, 0.2), (8730, 0.1), (14_549, 1.718e-5), (2909, 0.19994501718)]
)
def test_triangular_has_the_published_values(step, rate):
    assert 0.2 * triangular(step, TOTAL, EPOCH) == pytest.approx(rate, rel=1e-3)


@pytest.mark.parametrize(
    ("epoch", "rate"), [(0, 0.01), (4, 0.05), (9, 0.1), (69, 0.1), (70, 0.01), (129, 0.01), (130, 0.001)]
)
def test_multistep_with_warm_up_has_the_published_values(epoch, rate):
    clock = Clock(lambda *at: multistep(*at, milestones=[70, 130], warmup=10), TOTAL, EPOCH, "epoch")
    for step in (epoch * EPOCH, epoch * EPOCH + EPOCH - 1):
        assert 0.1 * clock(step) == pytest.approx(rate)


def test_cosine_with_warm_up_has_the_published_value():
    clock = Clock(lambda *at: cosine(*at, minimum=0.1, warmup=10), TOTAL, EPOCH, "epoch")
    assert 0.1 * clock(80 * EPOCH) == pytest.approx(0.055)
    assert [0.1 * clock(e * EPOCH) for e in (0, 4, 9, 10)] == pytest.approx([0.01, 0.05, 0.1, 0.1])


@pytest.mark.parametrize("warmup", [0, 5, 75])
@pytest.mark.parametrize("every", ["step", "epoch"])
@pytest.mark.parametrize("milestones", [[80, 120], [0.5, 0.75]])
def test_warm_up_moves_no_milestone(warmup, every, milestones):
    epochs = 160
    clock = Clock(lambda *at: multistep(*at, milestones=milestones, warmup=warmup), epochs * EPOCH, EPOCH, every)
    factors = [clock(step) for step in range(epochs * EPOCH)]
    drops = [i for i in range(1, len(factors)) if factors[i] < factors[i - 1]]
    assert drops == [80 * EPOCH, 120 * EPOCH]
    assert [factors[step] for step in (79 * EPOCH, 80 * EPOCH, 120 * EPOCH, -1)] == pytest.approx([1, 0.1, 0.01, 0.01])


@pytest.mark.parametrize("percent", range(1, 100))
def test_a_milestone_at_a_fraction_of_the_level_falls_on_its_epoch(percent):
    """0.55 * 100 is 55.00000000000001 in floats; epoch 55 is there all the same."""
    clock = Clock(lambda *at: multistep(*at, milestones=[percent / 100]), 100 * EPOCH, EPOCH, "epoch")
    assert clock(percent * EPOCH - 1) == 1
    assert clock(percent * EPOCH) == pytest.approx(0.1)


@pytest.mark.parametrize(
    "schedule",
    [
        constant,
        schedule_free,
        lambda *at, **warm: multistep(*at, milestones=[70], **warm),
        cosine,
        trapezoidal,
    ],
    ids=["constant", "schedule_free", "multistep", "cosine", "trapezoidal"],
)
def test_warm_up_is_linear_and_reaches_the_base_rate_at_its_last_step(schedule):
    factors = [schedule(step, TOTAL, EPOCH, warmup=2) for step in range(2 * EPOCH + 1)]
    assert factors[:-1] == pytest.approx([(step + 1) / (2 * EPOCH) for step in range(2 * EPOCH)])
    assert factors[-2:] == pytest.approx([1, 1])


def test_no_schedule_warms_up_unasked():
    for schedule in (constant, cosine, trapezoidal):
        assert schedule(0, TOTAL, EPOCH) == 1
    assert multistep(0, TOTAL, EPOCH, milestones=[1]) == 1


def test_constant_is_constant():
    assert {constant(step, TOTAL, EPOCH) for step in range(0, TOTAL, 101)} == {1.0}


@pytest.mark.parametrize("minimum", [0.0, 0.1])
def test_cosine_is_torchs(minimum):
    expected = by_torch(CosineAnnealingLR, 200, T_max=200, eta_min=minimum)
    assert [cosine(step, 200, 10, minimum=minimum) for step in range(200)] == pytest.approx(expected, abs=1e-12)


def test_one_cycle_is_torchs_but_for_the_step_at_the_peak():
    """torch reaches the peak a step before 30 % of the way and the end at the last step; ours at 30 % and one after."""
    total, top = 1000, 300
    expected = by_torch(OneCycleLR, total, max_lr=1.0, total_steps=total, cycle_momentum=False)
    for step in range(top):
        ours = one_cycle(step / (top - 1) * top, total, 10)
        assert ours == pytest.approx(expected[step], abs=1e-9)
    for step in range(top - 1, total):
        assert one_cycle(step + 1, total, 10) == pytest.approx(expected[step], abs=1e-9)
    assert (one_cycle(0, total, 10), one_cycle(top, total, 10)) == pytest.approx((1 / 25, 1))
    assert one_cycle(total, total, 10) == pytest.approx(1 / 25 * 1e-4)


def test_trapezoidal_is_a_rise_a_plateau_and_a_straight_fall():
    """Warm-up of 10 steps, then 1, then (T - t) / K over the last K of T steps."""
    total, down = 100, 20
    for step in range(total):
        expected = (step + 1) / 10 if step < 10 else (total - step) / down if step >= total - down else 1
        assert trapezoidal(step, total, 5, warmup=2, cooldown=0.2) == pytest.approx(expected)
    assert {trapezoidal(step, total, 5, cooldown=0) for step in range(total)} == {1.0}


@pytest.mark.parametrize("peak", [0.0, 0.2, 0.5, 1.0])
def test_triangular_rises_and_falls_in_straight_lines(peak):
    total = 50
    factors = [triangular(step, total, 5, start=0.1, peak=peak, end=0.05) for step in range(total)]
    top = int(peak * total)
    for step, factor in enumerate(factors):
        up = 0.1 + 0.9 * step / top if step < top else None
        assert factor == pytest.approx(up if up is not None else 1 - 0.95 * (step - top) / (total - top))


SCHEDULES = {
    "constant": constant,
    "multistep": lambda *at: multistep(*at, milestones=[2, 0.5]),
    "cosine": lambda *at: cosine(*at, minimum=0.1),
    "triangular": lambda *at: triangular(*at, start=0.3),
    "trapezoidal": lambda *at: trapezoidal(*at, cooldown=0.4),
    "one_cycle": one_cycle,
    "imagenet_drops": lambda *at: imagenet_drops(*at, milestones=[4, 7], warmup=1),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_at_an_epochs_start_both_clocks_agree_and_one_stands_still_in_between(name):
    by_step, by_epoch = (Clock(SCHEDULES[name], 10 * EPOCH, EPOCH, every) for every in ("step", "epoch"))
    for epoch in range(10):
        start = epoch * EPOCH
        assert by_epoch(start) == pytest.approx(by_step(start), abs=1e-12)
        assert {by_epoch(start + i) for i in range(EPOCH)} == {by_epoch(start)}


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("every", ["step", "epoch"])
def test_factors_stay_between_zero_and_one_to_the_last_step(name, every):
    """Also of a level that ends within an epoch."""
    for total in (1, 2, 7, 35, 38):
        clock = Clock(SCHEDULES[name], total, 7, every)
        assert all(0 <= clock(step) <= 1 + 1e-12 for step in range(total))
        assert not any(math.isnan(clock(step)) for step in range(total))


def test_a_clock_counts_from_the_schedules_start_by_default():
    assert Clock(triangular, TOTAL, EPOCH)(2910) == 1
    assert Clock(triangular, TOTAL, EPOCH).every == "step"


@pytest.mark.parametrize("every", ["batch", "Epoch", "", None])
def test_an_unknown_clock_is_refused(every):
    with pytest.raises(ValueError, match="is not one of 'step', 'epoch'"):
        Clock(constant, 10, 5, every)


@pytest.mark.parametrize("every", ["step", "epoch"])
def test_imagenet_drops_has_the_published_values(every):
    clock = Clock(imagenet_drops, 90 * EPOCH, EPOCH, every)
    known = {0: 0.1, 9: 0.1, 10: 1, 39: 1, 40: 0.1, 69: 0.1, 70: 0.01, 89: 0.01}
    for epoch, factor in known.items():
        for step in (epoch * EPOCH, epoch * EPOCH + EPOCH - 1):
            assert clock(step) == pytest.approx(factor)


def test_its_warm_up_may_rise_in_a_straight_line():
    factors = [imagenet_drops(epoch, 90, 1, ramp=True) for epoch in range(12)]
    assert factors == pytest.approx([0.1 + 0.09 * epoch for epoch in range(10)] + [1, 1])


def test_a_late_schedule_is_the_same_one_an_epoch_later_after_an_epoch_at_the_base_rate():
    """The code behind the June 2024 curves stepped after each epoch: drops at 71 and 131, not at 70 and 130."""
    schedule = partial(multistep, milestones=[70, 130], warmup=10)
    late, nominal = (Clock(schedule, TOTAL, EPOCH, "epoch", late) for late in (1, 0))
    assert {late(step) for step in range(EPOCH)} == {1}
    assert all(late(step) == nominal(step - EPOCH) for step in range(EPOCH, TOTAL, EPOCH))
    assert [late(epoch * EPOCH) for epoch in (1, 70, 71, 130, 131)] == pytest.approx([0.1, 1, 0.1, 0.1, 0.01])


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("every", ["step", "epoch"])
def test_clocks_are_one_clock_after_another(name, every):
    lengths = [10 * EPOCH, 12 * EPOCH, 8 * EPOCH]
    joined = Clocks(SCHEDULES[name], lengths, EPOCH, every)
    alone = [Clock(SCHEDULES[name], length, EPOCH, every) for length in lengths]
    expected = [(i, clock(step)) for i, clock in enumerate(alone) for step in range(0, clock.total, 7)]
    starts = [0, 10 * EPOCH, 22 * EPOCH]
    found = [(joined.at(s + t), joined(s + t)) for s, n in zip(starts, lengths, strict=True) for t in range(0, n, 7)]
    assert found == expected


WARMED = {
    "constant": partial(constant, warmup=2),
    "multistep": partial(multistep, milestones=[0.5], warmup=2),
    "cosine": partial(cosine, warmup=2),
    "trapezoidal": partial(trapezoidal, warmup=2),
    "triangular": triangular,
    "one_cycle": one_cycle,
    "imagenet_drops": partial(imagenet_drops, warmup=2),
}


@pytest.mark.parametrize("name", WARMED)
def test_later_cycles_may_begin_at_the_base_rate(name):
    clocks = Clocks(WARMED[name], [10 * EPOCH] * 2, EPOCH, skip_warmup=True)
    assert clocks(0) == Clock(WARMED[name], 10 * EPOCH, EPOCH)(0) < 1
    assert clocks(10 * EPOCH) == pytest.approx(1)


def test_triangular_without_its_warm_up_is_a_line_from_one_to_the_end():
    factors = [_without_warmup(triangular)(step, 10, 5) for step in range(10)]
    assert factors == pytest.approx([1 - step / 10 for step in range(10)])


def test_a_schedule_without_warm_up_has_none_to_skip():
    with pytest.raises(ValueError, match="no warm-up to skip"):
        _without_warmup(lambda step, total, epoch: 1.0)
