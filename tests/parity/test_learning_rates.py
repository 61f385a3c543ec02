"""Learning-rate schedules, and how a budget is split into cycles.

Triangular, trapezoidal, ImageNet drops and cycles: cyclic sparse training (arXiv 2406.02773). Linear warm-up: arXiv
1706.02677. Cosine: arXiv 1608.03983, torch's CosineAnnealingLR. One cycle: arXiv 1708.07120, torch's OneCycleLR.
"""

import math
from functools import partial

import numpy as np
import pytest
import torch

from lth.plan.budget import split
from lth.training import schedules
from lth.training.schedules import Clock, Clocks

EPOCH, EPOCHS = 7, 30
TOTAL = EPOCH * EPOCHS


def by_torch(make, steps, lr=1.0):
    """The rates of a scheduler of torch, one for each step."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    scheduler, rates = make(optimizer), []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize("total", [TOTAL, 14550])
def test_triangular_is_a_line_through_three_points(total):
    points = [0, int(0.2 * total), total], [0.2, 1.0, 0.0]
    for step in range(0, total, max(1, total // 500)):
        expected = np.interp(step, *points)
        assert schedules.triangular(step, total, EPOCH) == pytest.approx(expected, abs=1e-12)


def test_multistep_is_that_of_torch():
    rates = by_torch(lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [15, 22], gamma=0.1), EPOCHS)
    clock = Clock(partial(schedules.multistep, milestones=[15, 22]), TOTAL, EPOCH, "epoch")
    for step in range(TOTAL):
        assert clock(step) == pytest.approx(rates[step // EPOCH], rel=1e-12)


@pytest.mark.parametrize("warmup", [5, 20])
def test_warm_up_is_linear_and_moves_no_milestone(warmup):
    clock = Clock(partial(schedules.multistep, milestones=[15, 22], warmup=warmup), TOTAL, EPOCH, "epoch")
    for step in range(TOTAL):
        e = step // EPOCH
        expected = min(1, (e + 1) / warmup) * 0.1 ** sum(e >= m for m in (15, 22))
        assert clock(step) == pytest.approx(expected, rel=1e-12)


def test_warm_up_by_steps_reaches_the_base_rate_at_its_last_step():
    for step in range(TOTAL):
        expected = (step + 1) / (3 * EPOCH) if step < 3 * EPOCH else 1.0
        assert schedules.constant(step, TOTAL, EPOCH, warmup=3) == pytest.approx(expected)


@pytest.mark.parametrize("minimum", [0.0, 0.1])
def test_cosine_is_that_of_torch(minimum):
    make = partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=EPOCHS, eta_min=minimum)
    rates = by_torch(make, EPOCHS)
    clock = Clock(partial(schedules.cosine, minimum=minimum), TOTAL, EPOCH, "epoch")
    assert [clock(e * EPOCH) for e in range(EPOCHS)] == pytest.approx(rates, abs=1e-9)


def test_cosine_after_warm_up_begins_at_its_end():
    clock = Clock(partial(schedules.cosine, warmup=5), TOTAL, EPOCH, "epoch")
    for e in range(EPOCHS):
        expected = (e + 1) / 5 if e < 5 else 0.5 * (1 + math.cos(math.pi * (e - 5) / (EPOCHS - 5)))
        assert clock(e * EPOCH) == pytest.approx(expected)


def test_one_cycle_is_that_of_torch():
    # torch's last rate is that of step total - 1, ours ends one step later
    make = partial(torch.optim.lr_scheduler.OneCycleLR, max_lr=1.0, total_steps=201, pct_start=61 / 201)
    rates = by_torch(make, 200)
    assert [schedules.one_cycle(s, 200, EPOCH) for s in range(200)] == pytest.approx(rates, abs=1e-12)


def test_trapezoidal_rises_stays_and_falls():
    for step in range(TOTAL):
        if step < 2 * EPOCH:
            expected = (step + 1) / (2 * EPOCH)
        else:
            expected = min(1.0, (TOTAL - step) / (0.3 * TOTAL))
        found = schedules.trapezoidal(step, TOTAL, EPOCH, warmup=2, cooldown=0.3)
        assert found == pytest.approx(expected)


@pytest.mark.parametrize("ramp", [False, True])
def test_imagenet_drops_are_a_tenth_one_a_tenth_and_a_hundredth(ramp):
    for e in range(90):
        expected = (
            0.1 + 0.9 * e / 10 if ramp and e < 10 else 0.1 if e < 10 else 1 if e < 40 else 0.1 if e < 70 else 0.01
        )
        assert schedules.imagenet_drops(e, 90, 1, ramp=ramp) == pytest.approx(expected)


def test_each_cycle_runs_through_a_whole_schedule():
    lengths = [60, 45, 30, 15]
    clocks, step = Clocks(schedules.triangular, lengths, EPOCH), 0
    for length in lengths:
        for within in range(length):
            expected = np.interp(within, [0, int(0.2 * length), length], [0.2, 1.0, 0.0])
            assert clocks(step) == pytest.approx(expected, abs=1e-12)
            step += 1


def test_cycles_without_warm_up_begin_at_the_peak():
    clocks = Clocks(schedules.triangular, [30, 20], EPOCH, skip_warmup=True)
    assert [clocks(step) for step in range(30)] == [schedules.triangular(step, 30, EPOCH) for step in range(30)]
    for within in range(20):
        assert clocks(30 + within) == pytest.approx(1 - within / 20)


def shares(strategy: str, budget: int, n: int) -> list[float]:
    """The lengths of the cycles before rounding and normalising."""
    m, triangle = n // 2, n * (n + 1) / 2
    f = 0.5 ** (1 / (n - 1))
    peak = [(i + 1) * budget / (m * (m + 1) / 2) for i in range(m)]
    high = budget / (m + n % 2)
    return {
        "constant": [budget / n] * n,
        "linear_decrease": [budget / triangle * (n - i) for i in range(n)],
        "linear_increase": [budget / triangle * (i + 1) for i in range(n)],
        "exponential_decrease": [budget * f**i / sum(f**j for j in range(n)) for i in range(n)],
        "exponential_increase": [budget * f**-i / sum(f**-j for j in range(n)) for i in range(n)],
        "cyclic_peak": peak + [(n - i) * budget / ((n - m) * (n - m + 1) / 2) for i in range(m, n)],
        "alternating": [high if i % 2 == 0 else high / 2 for i in range(n)],
        "plateau": peak + [budget / n] * (n - m),
    }[strategy]


STRATEGIES = ("constant", "linear_decrease", "linear_increase", "exponential_decrease", "exponential_increase")


@pytest.mark.parametrize(("budget", "n"), [(150, 4), (90, 5), (161, 6)])
@pytest.mark.parametrize("strategy", [*STRATEGIES, "cyclic_peak", "alternating", "plateau"])
def test_cycles_have_the_published_shares_and_sum_to_the_budget(strategy, budget, n):
    real = shares(strategy, budget, n)
    real = [share * budget / sum(real) for share in real]
    expected = [math.floor(share + 1e-9) for share in real]
    by_fraction = sorted(range(n), key=lambda i: (round(expected[i] - real[i], 9), i))
    for i in by_fraction[: budget - sum(expected)]:
        expected[i] += 1
    assert split(budget, n, strategy) == expected
    assert sum(expected) == budget


def test_released_cycles_are_rounded_down():
    assert split(150, 4, "constant", "floor") == [37] * 4
    assert split(150, 4, "alternating", "floor") == [50, 24, 50, 24]
    assert split(150, 4, "plateau", "floor") == [33, 66, 24, 24]
    assert split(90, 5, "linear_decrease", "floor") == [30, 24, 18, 12, 6]
