"""Linear mode connectivity (arXiv 1912.05671, section 2): E((1 - a) W1 + a W2) over the line between two networks.

The barrier is the largest excess over the straight line between the errors at the ends, (1 - a) E(W1) + a E(W2)
(arXiv 2210.03044, section 3).
"""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from lth.analysis.linear_connectivity import _barrier, _interpolate, compare_levels, line_points
from tests.parity.plain import draw, half, logits

SHAPES = {"0.weight": (5, 4), "2.weight": (3, 5)}
POINTS = [i / 10 for i in range(11)]


def batches(seed):
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(20, 4, generator=random, dtype=torch.float64)
    y = torch.randint(0, 3, (20,), generator=random)
    return [(x[:12], y[:12]), (x[12:], y[12:])]


def measured(weights, data):
    """Mean loss and accuracy, sample by sample."""
    losses, right = [], 0
    for x, y in data:
        for one, label in zip(x, y, strict=True):
            out = logits(weights, one.unsqueeze(0))
            losses.append(float(cross_entropy(out, label.unsqueeze(0))))
            right += int(out.argmax()) == int(label)
    return sum(losses) / len(losses), right / len(losses)


@pytest.mark.parametrize("seed", range(3))
def test_the_line_between_two_levels_and_its_barrier(seed):
    net = nn.Sequential(nn.Linear(4, 5, bias=False), nn.ReLU(), nn.Linear(5, 3, bias=False)).double()
    data, masks = batches(seed), half(SHAPES, 20 + seed)
    ones = {name: torch.ones(shape, dtype=torch.bool) for name, shape in SHAPES.items()}
    old, new = draw(SHAPES, seed), {name: w * masks[name] for name, w in draw(SHAPES, 10 + seed).items()}
    rows, pruning = compare_levels(net, (old, ones), (new, masks), data, line_points(0.1))
    expected = []
    for alpha in POINTS:
        point = {name: (1 - alpha) * old[name] * masks[name] + alpha * new[name] for name in SHAPES}
        expected.append(measured(point, data))
    assert [row["alpha"] for row in rows] == pytest.approx(POINTS)
    assert [row["loss"] for row in rows] == pytest.approx([loss for loss, _ in expected], abs=1e-6)
    assert [row["accuracy"] for row in rows] == pytest.approx([accuracy for _, accuracy in expected], abs=1e-6)
    assert pruning["loss_before"] == pytest.approx(measured(old, data)[0], abs=1e-6)
    for name, values in {"loss": [e[0] for e in expected], "error": [1 - e[1] for e in expected]}.items():
        straight = [(1 - a) * values[0] + a * values[-1] for a in POINTS]
        highest = max(value - line for value, line in zip(values, straight, strict=True))
        assert pruning[f"{name}_barrier"] == pytest.approx(highest, abs=1e-6)
        line = [{"alpha": alpha, "value": value} for alpha, value in zip(POINTS, values, strict=True)]
        assert _barrier(line, lambda row: row["value"]) == pytest.approx(highest)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_a_point_on_the_line_mixes_every_entry(alpha):
    a, b = draw(SHAPES, 0), draw(SHAPES, 1)
    for name, mixed in _interpolate(a, b, alpha).items():
        for found, x, y in zip(*(t.flatten().tolist() for t in (mixed, a[name], b[name])), strict=True):
            assert found == pytest.approx((1 - alpha) * x + alpha * y, abs=1e-14)
