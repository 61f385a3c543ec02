"""Searches of masks among frozen weights.

Edge-popup (arXiv 1911.13299, section 3 and eq. 7; |score| as in its released code); Gem-Miner (arXiv 2202.12002,
algorithm 1), global edge-popup of the same paper's ablation, the annealed densities of arXiv 2210.02412.
"""

import math
from fractions import Fraction

import pytest
import torch

from lth.pruning import Masks
from lth.pruning.ladder import annealed
from lth.pruning.search._straight_through import straight_through
from lth.pruning.search.events import EventSchedule
from lth.pruning.search.freezing import Freezing
from lth.pruning.search.mask_rules import Largest, Rounded
from lth.pruning.search.regulariser import L2
from tests.parity.plain import CONV, MLP, draw, equal, half, keep_largest

SHAPES = {"mlp": MLP, "conv": CONV}


def by_layer(rule, scores, density, allowed=()):
    return dict(zip(scores, rule(list(scores.values()), list(allowed), density), strict=True))


def edge_popup(scores, density):
    """Sort |score| of each layer in ascending order; the first int((1 - k) n) of them are set to 0, the rest to 1."""
    masks = {}
    for name, score in scores.items():
        sizes = score.abs().flatten().tolist()
        order = sorted(range(len(sizes)), key=lambda i, sizes=sizes: (sizes[i], -i))
        mask = torch.ones(score.numel())
        mask[order[: int((1 - density) * score.numel())]] = 0
        masks[name] = mask.view(score.shape)
    return masks


@pytest.mark.parametrize("values", [None, 3], ids=["distinct", "ties"])
@pytest.mark.parametrize("density", [0.9, 0.5, 0.3, 0.014])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("shapes", SHAPES)
def test_edge_popup_uses_the_largest_scores_of_each_layer(shapes, seed, density, values):
    scores = draw(SHAPES[shapes], seed, values)
    assert equal(by_layer(Largest(), scores, density), edge_popup(scores, density))


def global_edge_popup(scores, density):
    """Released: t is the c-th smallest |score| of all N, c = ceil((1 - T) N), and the mask is |score| > t."""
    sizes = sorted(abs(v) for s in scores.values() for v in s.flatten().tolist())
    removed = math.ceil((1 - Fraction(density)) * len(sizes))
    threshold = sizes[removed - 1] if removed else -1
    return {name: s.abs() > threshold for name, s in scores.items()}


def as_released(scores, density):
    masks = by_layer(Largest(scope="global", ties="as_published"), scores, float(Fraction(density)))
    return {name: mask.bool() for name, mask in masks.items()}


@pytest.mark.parametrize("values", [None, 3], ids=["distinct", "ties"])
@pytest.mark.parametrize("density", ["1", "0.5", "0.3", "0.1", "0.0059"])  # 0.5 is a whole number of weights
@pytest.mark.parametrize("seed", range(3))
def test_released_global_edge_popup_is_strictly_over_one_threshold(seed, density, values):
    scores = draw(MLP, seed, values)
    assert equal(as_released(scores, density), global_edge_popup(scores, density))


@pytest.mark.parametrize("density", ["0.5", "0.3", "0.1", "0.0059"])
@pytest.mark.parametrize("seed", range(3))
def test_global_edge_popup_rounded_down_has_the_released_count_at_every_density(seed, density):
    scores = draw(MLP, seed)
    ours = by_layer(Largest(scope="global", rounding="floor"), scores, float(Fraction(density)))
    assert equal({name: mask.bool() for name, mask in ours.items()}, global_edge_popup(scores, density))


@pytest.mark.parametrize("values", [None, 3], ids=["distinct", "ties"])
@pytest.mark.parametrize("density", [0.5, 0.3, 0.0059])
def test_global_edge_popup_with_an_exact_count_keeps_what_edge_popup_keeps_of_one_layer(density, values):
    scores = draw(MLP, 0, values)
    total = sum(s.numel() for s in scores.values())
    kept = keep_largest({n: s.abs() for n, s in scores.items()}, total - int((1 - density) * total))
    assert equal(by_layer(Largest(scope="global"), scores, density), kept)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("shapes", SHAPES)
def test_edge_popup_inside_a_random_graph_ranks_its_weights_alone(shapes, seed):
    scores, support = draw(SHAPES[shapes], seed), half(SHAPES[shapes], 10 + seed)
    ours = by_layer(Largest(rounding="floor"), scores, 0.2, [mask.double() for mask in support.values()])
    for name, score in scores.items():
        count = math.floor(0.2 * score.numel() + 1e-9)
        expected = keep_largest({name: score.abs()}, count, {name: support[name]})[name]
        assert torch.equal(ours[name].bool(), expected)


def test_edge_popup_inside_a_random_graph_is_the_worked_example():
    score, support = torch.tensor([0.9, -0.5, 0.1, 0.7]), torch.tensor([1.0, 1.0, 1.0, 0.0])
    assert Largest(rounding="floor")([score], [support], 0.5)[0].tolist() == [1, 1, 0, 0]


@pytest.mark.parametrize("signed", [True, False], ids=["edge-popup", "gem-miner"])
@pytest.mark.parametrize("seed", range(3))
def test_straight_through_gradients_reach_every_score_whatever_its_mask(seed, signed):
    scores = {name: s.requires_grad_() for name, s in draw(MLP, seed).items()}
    weights, masks = draw(MLP, 10 + seed), {name: m.double() for name, m in half(MLP, 20 + seed).items()}
    toward = draw(MLP, 30 + seed)  # dL/d(weight * mask)
    used = straight_through(list(scores.values()), list(masks.values()), list(weights.values()), signed)
    assert equal(dict(zip(masks, used, strict=True)), {name: weights[name] * masks[name] for name in masks})
    sum((u * t).sum() for u, t in zip(used, toward.values(), strict=True)).backward()
    for name, score in scores.items():
        entries = (t.flatten().tolist() for t in (score, score.grad, weights[name], toward[name]))
        for s, found, w, g in zip(*entries, strict=True):
            sign = (math.copysign(1, s) if s else 0) if signed else 1
            assert found == pytest.approx(sign * w * g, abs=1e-15)


def freeze(scores, active, fraction):
    """Gem-Miner: the ceil(r a) smallest scores of the a active weights freeze, every tie of the last one too."""
    values = sorted(v for name, s in scores.items() for v in s[active[name]].tolist())
    threshold = values[math.ceil(fraction * len(values) - 1e-9) - 1]
    return {name: active[name] & (s > threshold) for name, s in scores.items()}


@pytest.mark.parametrize("values", [None, 40], ids=["distinct", "ties"])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("shapes", SHAPES)
def test_gem_miners_events_freeze_the_smallest_scores_for_good(shapes, seed, values):
    schedule = EventSchedule(epochs=12, period=3, start=1.0, end=0.05)
    active = {name: torch.ones(shape, dtype=torch.bool) for name, shape in SHAPES[shapes].items()}
    allowed = Masks({name: mask.double() for name, mask in active.items()})
    total, r = allowed.total, 1 - 0.05 ** (1 / 3)
    for event in range(1, schedule.total + 1):
        scores = {n: s.abs() for n, s in draw(SHAPES[shapes], 10 * event + seed, values).items()}
        left = schedule.left(allowed.kept, event, total)
        assert equal(dict(Freezing()(scores, allowed, left)), keep_largest(scores, left, active))
        allowed = Freezing(ties="all")(scores, allowed, left)
        active = freeze(scores, active, r)
        assert equal(dict(allowed), active)
        assert allowed.kept > 0


@pytest.mark.parametrize(("epochs", "period"), [(e, p) for e in (2, 7, 50, 150, 200) for p in (1, 5, 8, 25)])
def test_events_follow_epochs_that_the_period_divides(epochs, period):
    happening = [e for e in range(epochs) if e > 0 and e % period == 0]
    if not happening:
        return
    schedule = EventSchedule(epochs, period, 1.0, 0.5)
    assert schedule.total == len(happening) == (epochs - 1) // period
    assert [e for e in range(epochs) if schedule.done(e + 1) > schedule.done(e)] == happening
    for j in range(1, len(happening) + 1):
        assert schedule.density(j) == pytest.approx(0.5 ** (j / len(happening)))


def test_29_events_leave_3861_of_resnet20s_weights():
    schedule, active, ours = EventSchedule(150, 5, 1.0, 0.0144), 268336, 268336
    for event in range(1, 30):
        active -= math.ceil((1 - 0.0144 ** (1 / 29)) * active)
        ours = schedule.left(ours, event, 268336)
    assert active == ours == 3861


def test_annealed_densities_multiply_the_clipped_value():
    for final, start in ((0.2, 0.5), (0.1, 0.3), (0.05, 0.5)):
        b, k, expected = (final / 0.6) ** (1 / 5), 0.6, [start]
        for _ in range(5):
            k = max(min(k * b, start), final)
            expected.append(k)
        assert annealed(final, 5, 0.6, start) == pytest.approx(expected)


def test_the_penalty_is_the_gradient_of_a_sum_of_squares():
    scores = draw(MLP, 0)
    found = L2().gradient(list(scores.values()), [])
    leaves = [s.clone().requires_grad_() for s in scores.values()]
    expected = torch.autograd.grad(sum((s**2).sum() for s in leaves), leaves)
    assert all(torch.allclose(a, b) for a, b in zip(found, expected, strict=True))


def test_a_score_of_one_half_rounds_to_zero():
    scores = torch.tensor([0.0, 0.4999, 0.5, 0.5001, 1.0])
    assert Rounded()([scores], [], 0.5)[0].tolist() == [float(s > 0.5) for s in scores]
