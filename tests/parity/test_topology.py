"""Dynamic sparse training, one update and whole trainings.

RigL (arXiv 1911.11134, algorithm 1), SET (arXiv 1707.04780, algorithm 1), SNFS's growth by momentum (arXiv 1907.04840),
ITOP's rate (arXiv 2102.02887, eq. 3), GraNet's zero-cost neuroregeneration (arXiv 2106.10404, algorithm 1).
"""

import math
from functools import partial

import pytest
import torch

from lth.pruning import Masks, allocation, criteria, prune
from lth.pruning.topology import Layer, drop, fraction, grow, move
from lth.pruning.topology.memory import MeanOfLast, Momentum
from tests.parity.plain import CONV, MLP, Weights, draw, equal, half, keep_largest, nearest
from tests.parity.training import DECAY, LR, STEPS, assert_same_end, trained

SHAPES = {"mlp": MLP, "conv": CONV}


def rigl_update(weights, kept, growth, zeta, ceil=False, allowed=None, regrow=True):
    """Drop the smallest |w| of each layer and grow as many where `growth` is largest, dropped ones among them."""
    new = {}
    for name, w in weights.items():
        was, active = kept[name], int(kept[name].sum())
        inside = torch.ones_like(was) if allowed is None else allowed[name]
        moved = math.ceil(zeta * active - 1e-9) if ceil else math.floor(zeta * active + 1e-9)
        if not regrow:
            moved = min(moved, int((inside & ~was).sum()))
        if not (inside & ~was).any():
            new[name] = was
            continue
        stay = keep_largest({name: w.abs()}, active - moved, {name: was})[name]
        free = inside & ~(stay if regrow else was)
        new[name] = stay | keep_largest({name: growth[name]}, moved, {name: free})[name]
    return new


def layers_of(weights, kept, gradients, allowed=None, seed=0):
    return {
        name: Layer(
            w,
            kept[name],
            gradients[name],
            torch.ones_like(kept[name]) if allowed is None else allowed[name],
            kept[name],
            torch.Generator().manual_seed(seed),
        )
        for name, w in weights.items()
    }


@pytest.mark.parametrize("regrow", [True, False], ids=["regrow", "no regrow"])
@pytest.mark.parametrize("ceil", [False, True], ids=["floor", "ceil"])
@pytest.mark.parametrize("values", [None, 3], ids=["distinct", "ties"])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("shapes", SHAPES)
def test_an_update_drops_the_smallest_weights_and_grows_at_the_largest_gradients(shapes, seed, values, ceil, regrow):
    weights, gradients = draw(SHAPES[shapes], seed, values), draw(SHAPES[shapes], 10 + seed, values)
    kept = half(SHAPES[shapes], 20 + seed)
    kept["head"] |= True  # a dense layer is left alone
    dropping = partial(drop.smallest, rounding="ceil" if ceil else "floor")
    for zeta in (0.3, 0.05, 0.0):
        ours = move(layers_of(weights, kept, gradients), zeta, dropping, grow.gradient, regrow_dropped=regrow)
        growth = {name: g.abs() for name, g in gradients.items()}
        assert equal(ours, rigl_update(weights, kept, growth, zeta, ceil, regrow=regrow))


@pytest.mark.parametrize("seed", range(3))
def test_growth_inside_a_support_has_candidates_there_only(seed):
    weights, gradients = draw(MLP, seed), draw(MLP, 10 + seed)
    allowed = half(MLP, 30 + seed, 0.8)
    kept = {name: mask & allowed[name] for name, mask in half(MLP, 20 + seed).items()}
    ours = move(layers_of(weights, kept, gradients, allowed), 0.3, drop.smallest, grow.gradient)
    assert equal(ours, rigl_update(weights, kept, {n: g.abs() for n, g in gradients.items()}, 0.3, False, allowed))


@pytest.mark.parametrize("seed", range(3))
def test_sets_drop_takes_positive_and_negative_weights_closest_to_zero(seed):
    weights, kept = draw(MLP, seed), half(MLP, 20 + seed)
    survivors = drop.smallest(layers_of(weights, kept, weights), 0.3, dict.fromkeys(weights, 10**9), signs="apart")
    for name, w in weights.items():
        expected = torch.zeros_like(kept[name])
        for part in (kept[name] & (w >= 0), kept[name] & (w < 0)):
            count = int(part.sum())
            expected |= keep_largest({name: w.abs()}, count - math.floor(0.3 * count + 1e-9), {name: part})[name]
        assert torch.equal(survivors[name], expected)


def test_sets_growth_is_uniform_over_the_free_positions():
    weights = {"layer": torch.tensor([4.0, 3.0, 2.0, 1.0, 0.0, 0.0, 0.0, 0.0])}
    kept, grown, draws = {"layer": weights["layer"] > 0}, torch.zeros(8), 150
    for seed in range(draws):
        grown += move(layers_of(weights, kept, weights, seed=seed), 0.5, drop.smallest, grow.random)["layer"]
    # two survive; two of the six others grow, those just dropped among them
    assert grown[:2].tolist() == [draws, draws]
    spread = math.sqrt(draws * (1 / 3) * (2 / 3))
    assert all(abs(count - draws / 3) < 4.5 * spread for count in grown[2:].tolist())


def test_momentum_growth_sees_an_average_of_dense_gradients():
    memory, average = Momentum(0.9), {}
    for step in range(7):
        gradients = draw(MLP, step)
        memory.take(lambda gradients=gradients: gradients, until=3)
        for name, g in gradients.items():
            average[name] = 0.9 * average.get(name, torch.zeros_like(g)) + (1 - 0.9) * g
    assert all(torch.allclose(memory.read()[name], average[name], rtol=1e-12) for name in average)


def test_a_mean_of_gradients_has_the_last_of_them_alone():
    memory, seen = MeanOfLast(3), []
    for step in range(8):
        seen.append(draw(MLP, step))
        memory.take(lambda: seen[-1], until=7 - step)
    for name in MLP:
        assert torch.allclose(memory.read()[name], sum(g[name] for g in seen[-3:]) / 3, rtol=1e-12)


def test_drop_fractions_are_the_papers_formulas():
    for t in range(101):
        x = t / 100
        assert fraction.cosine(x) == pytest.approx(0.3 / 2 * (1 + math.cos(t * math.pi / 100)), abs=1e-15)
        annealed = 0.005 + (0.5 - 0.005) * (1 + math.cos(math.pi * t / 100)) / 2
        assert fraction.cosine(x, start=0.5, end=0.005) == pytest.approx(annealed, abs=1e-15)
        assert fraction.constant(x) == 0.3
        assert fraction.exponential(x, power=3) == pytest.approx(0.3 * (1 - t / 100) ** 3, abs=1e-15)
        assert fraction.linear(x, start=0.3) == pytest.approx(0.3 - 0.3 * t / 100, abs=1e-15)


def test_cosine_fractions_with_a_floor_have_the_published_values():
    zeta = partial(fraction.cosine, start=0.5, end=0.005)
    assert [round(zeta(x / 4), 6) for x in range(5)] == [0.5, 0.427509, 0.2525, 0.077491, 0.005]


@pytest.mark.parametrize("seed", range(3))
def test_granets_update_prunes_globally_then_regenerates_layer_by_layer(seed):
    weights, gradients = draw(CONV, seed), draw(CONV, 10 + seed)
    kept = half(CONV, 20 + seed, 0.6)
    total, density, zeta = sum(w.numel() for w in weights.values()), 0.35, 0.4
    pruned = keep_largest({name: w.abs() for name, w in weights.items()}, nearest(density * total), kept)
    expected = rigl_update(weights, pruned, {n: g.abs() for n, g in gradients.items()}, zeta, ceil=True)
    masks = Masks({f"{name}.weight": mask.double() for name, mask in kept.items()})
    ours = prune(Weights(weights), masks, density, criteria.magnitude, allocation.with_floor).bools()
    ours = {name.removesuffix(".weight"): mask for name, mask in ours.items()}
    assert equal(ours, pruned)
    moved = move(layers_of(weights, ours, gradients), zeta, partial(drop.smallest, rounding="ceil"), grow.gradient)
    assert equal(moved, expected)


def update_(net, dense, moved):
    """Set the masks, with new and dropped weights and their momentum at zero."""
    for name, mask in moved.items():
        both = mask & net.masks[name].bool()
        net.masks[name] = mask.to(net.masks[name])
        net.values[name] = net.values[name] * both
        if name in net.velocity:
            net.velocity[name] = net.velocity[name] * both


def prunable(net, tensors):
    return {name: tensors[name] for name in net.masks}


def kept_of(net):
    return {name: mask.bool() for name, mask in net.masks.items()}


@pytest.mark.slow
def test_thirty_steps_of_rigl_are_algorithm_1_to_the_last_bit(tmp_path):
    options = "method=rigl", "sparsity.density=0.3", "method.every=4", "method.stop=24"
    built, start, net = trained(tmp_path, *options)
    ever = kept_of(net)
    for t, (x, labels) in enumerate(start.batches, start=1):
        dense = net.gradients(x, labels)
        if t % 4 or t >= 24:
            net.step(net.masked(dense), LR, 0.9, DECAY, False)
            continue
        zeta = 0.3 / 2 * (1 + math.cos(math.pi * t / 24))  # an update replaces the step of SGD
        growth = {name: g.abs() for name, g in prunable(net, dense).items()}
        update_(net, dense, rigl_update(prunable(net, net.values), kept_of(net), growth, zeta))
        ever = {name: seen | net.masks[name].bool() for name, seen in ever.items()}
    assert len(start.batches) == STEPS
    assert_same_end(built, net)
    rows = [row for row in built.callbacks["WatchTopology"].rows() if row["layer"] == "total"]
    share = sum(int(seen.sum()) for seen in ever.values()) / sum(seen.numel() for seen in ever.values())
    assert rows[-1]["ever_active"] == share  # ITOP's rate
    assert share > rows[-1]["density"]


@pytest.mark.slow
def test_thirty_steps_of_snfs_grow_by_the_average_of_dense_gradients(tmp_path):
    options = "method=snfs", "sparsity.density=0.3", "method.every=4", "method.stop=24"
    built, start, net = trained(tmp_path, *options)
    average = {}
    for t, (x, labels) in enumerate(start.batches, start=1):
        dense = net.gradients(x, labels)
        average = {n: torch.lerp(average.get(n, torch.zeros_like(g)), g, 1 - 0.9) for n, g in dense.items()}
        net.step(net.masked(dense), LR, 0.9, DECAY, False)
        if t % 4 == 0 and t < 24:
            zeta = 0.3 / 2 * (1 + math.cos(math.pi * t / 24))
            growth = {name: g.abs() for name, g in prunable(net, average).items()}
            update_(net, dense, rigl_update(prunable(net, net.used()), kept_of(net), growth, zeta))
    assert_same_end(built, net)


@pytest.mark.slow
def test_thirty_steps_of_granet_are_its_loop_to_the_last_bit(tmp_path):
    options = "method=granet", "method/allocation=erk", "method.initial_density=0.6", "sparsity.density=0.2"
    built, start, net = trained(tmp_path, *options, "method.every=5", "method.prune_end=20it")
    total = sum(mask.numel() for mask in net.masks.values())
    first = sum(int(mask.sum()) for mask in net.masks.values()) / total
    for t, (x, labels) in enumerate(start.batches, start=1):
        dense = net.gradients(x, labels)
        net.step(net.masked(dense), LR, 0.9, DECAY, False)
        if t % 5:
            continue
        if t <= 20:
            density = 0.2 + (first - 0.2) * (1 - t / 20) ** 3
            sizes = {name: w.abs() for name, w in prunable(net, net.used()).items()}
            update_(net, dense, keep_largest(sizes, nearest(density * total), kept_of(net)))
        if t < STEPS:
            zeta = 0.005 + (0.5 - 0.005) * (1 + math.cos(math.pi * t / STEPS)) / 2
            growth = {name: g.abs() for name, g in prunable(net, dense).items()}
            update_(net, dense, rigl_update(prunable(net, net.used()), kept_of(net), growth, zeta, ceil=True))
    assert built.masks.kept == nearest(0.2 * total)
    assert_same_end(built, net)
