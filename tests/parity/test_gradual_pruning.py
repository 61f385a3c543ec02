"""Gradual pruning within a training: AGP (arXiv 1710.01878, eq. 1), GMP (arXiv 1902.09574, the same schedule).

s_t = s_f + (s_i - s_f) (1 - (t - t_0) / (n dt))^3 at t_0, t_0 + dt, ..., t_0 + n dt; GraNet (arXiv 2106.10404) has the
same path from a sparse start, and its released code leaves the last pruning out.
"""

import pytest

from lth.pruning.paths import cubic, exponential, linear
from lth.pruning.structured._removal import Removal
from lth.pruning.timing import Firings, PruningSteps
from tests.parity.plain import equal, keep_largest, nearest
from tests.parity.training import DECAY, LR, STEPS, assert_same_end, trained


def sparsity(t: int, t_0: int, n: int, dt: int, s_i: float, s_f: float) -> float:
    """Equation 1 of AGP."""
    return s_f + (s_i - s_f) * (1 - (t - t_0) / (n * dt)) ** 3


@pytest.mark.parametrize(("t_0", "n", "dt", "s_i", "s_f"), [(0, 10, 1, 0, 0.9), (200, 7, 50, 0.5, 0.95)])
def test_the_density_at_each_pruning_is_the_cubic_schedule(t_0, n, dt, s_i, s_f):
    times, fired = PruningSteps(dt, t_0, t_0 + n * dt), 0
    for step in range(t_0 + (n + 3) * dt):
        assert times.due(step) == ((step - t_0) % dt == 0 and t_0 <= step <= t_0 + n * dt)
        if times.due(step):
            fired += 1
            density = cubic(times.progress(step), 1 - s_i, 1 - s_f)
            assert density == pytest.approx(1 - sparsity(step, t_0, n, dt, s_i, s_f), abs=1e-14)
    assert fired == n + 1
    assert cubic(times.progress(t_0 + n * dt), 1 - s_i, 1 - s_f) == 1 - s_f  # exactly


def test_ten_prunings_to_a_tenth_have_the_published_densities():
    published = [1, 0.7561, 0.5608, 0.4087, 0.2944, 0.2125, 0.1576, 0.1243, 0.1072, 0.1009, 0.1]
    assert [round(cubic(i / 10, 1.0, 0.1), 4) for i in range(11)] == published


def test_granets_prunings_have_the_published_densities_and_its_code_stops_before_the_last():
    # 450 steps an epoch, an update each 1000, until epoch 110: 49 prunings after the start
    times = PruningSteps(1000, 0, 110 * 450)
    published = {1: 0.473007, 2: 0.447116, 5: 0.375823, 10: 0.276891, 24: 0.109765, 48: 0.050004, 49: 0.05}
    assert {c: round(cubic(times.progress(1000 * c), 0.5, 0.05), 6) for c in published} == published
    assert times.due(49000)
    released = PruningSteps(1000, 0, 110 * 450, as_published=True)
    assert released.due(48000)
    assert not released.due(49000)
    assert cubic(released.progress(48000), 0.5, 0.05) == pytest.approx(0.05 + 0.45 / 49**3, abs=1e-15)


def test_distillers_windows_fall_by_the_same_formula_and_end_at_their_last_firing():
    published = [0.1, 0.1797, 0.2481, 0.306, 0.3542, 0.3937, 0.4254, 0.45, 0.4685, 0.4818, 0.4907, 0.4961, 0.4988]
    published += [0.4999, 0.5]
    window, removal = Firings(0, 30, 2), Removal(start=0.9, end=0.5)
    assert window.epochs == list(range(0, 30, 2))
    span = (30 - 0 - 1) // 2 * 2
    for epoch, rounded in zip(window.epochs, published, strict=True):
        expected = sparsity(epoch, 0, span, 1, 0.1, 0.5)
        assert round(expected, 4) == rounded
        assert removal.density(window.progress(epoch)) == pytest.approx(1 - expected, abs=1e-15)


def test_linear_and_exponential_paths_are_straight_in_density_and_in_its_logarithm():
    for i in range(11):
        assert linear(i / 10, 0.8, 0.1) == pytest.approx(0.8 + (0.1 - 0.8) * i / 10)
        assert exponential(i / 10, 0.8, 0.1) == pytest.approx(0.8 * (0.1 / 0.8) ** (i / 10))


@pytest.mark.slow
@pytest.mark.parametrize("by_layer", [False, True], ids=["global", "layer by layer"])
def test_thirty_steps_of_gradual_pruning_are_the_schedule_to_the_last_bit(by_layer, tmp_path):
    options = ["method=gmp", "sparsity.density=0.1", "method.every=5", "method.prune_end=20it"]
    built, start, net = trained(tmp_path, *options, *(["method/allocation=uniform"] if by_layer else []))
    total, densities = sum(mask.numel() for mask in net.masks.values()), []
    for t, (x, labels) in enumerate(start.batches, start=1):
        net.step(net.masked(net.gradients(x, labels)), LR, 0.9, DECAY, False)
        if t % 5 == 0 and t <= 20:
            # the first of the five prunings, at step 0, is to the density of the start
            density = 1 - sparsity(t, 0, 4, 5, 0.0, 0.9)
            densities.append(density)
            sizes = {name: net.used()[name].abs() for name in net.masks}
            kept = {name: mask.bool() for name, mask in net.masks.items()}
            groups = [[name] for name in sizes] if by_layer else [list(sizes)]
            new = {}
            for group, count in zip(groups, counts(sizes, groups, density), strict=True):
                new |= keep_largest({n: sizes[n] for n in group}, count, {n: kept[n] for n in group})
            for name, mask in new.items():
                net.masks[name] = mask.to(net.masks[name])
                net.values[name], net.velocity[name] = net.values[name] * mask, net.velocity[name] * mask
    assert len(start.batches) == STEPS
    assert len(densities) == 4
    assert built.masks.kept == nearest(0.1 * total)
    assert_same_end(built, net)


def counts(sizes, groups, density):
    """The density of each group as whole numbers: rounded down, the rest to the largest fractions."""
    real = [density * sum(sizes[name].numel() for name in group) for group in groups]
    whole = [int(value + 1e-9) for value in real]
    order = sorted(range(len(real)), key=lambda i: whole[i] - real[i])
    for i in order[: nearest(sum(real)) - sum(whole)]:
        whole[i] += 1
    return whole


@pytest.mark.slow
def test_masks_of_gradual_pruning_are_nested(tmp_path, monkeypatch):
    from tests.support.moving import prunings

    changes = prunings(monkeypatch)
    trained(tmp_path, "method=gmp", "sparsity.density=0.1", "method.every=5", "method.prune_end=20it")
    assert len(changes) == 4
    for change in changes:
        both = {n: m & change.before.masks[n] for n, m in change.after.masks.items()}
        assert equal(both, change.after.masks)
