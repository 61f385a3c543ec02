"""Element pruners: dynamic network surgery (arXiv 1608.04493, eq. 3 and algorithm 1), sensitivity (arXiv 1506.02626).

Surgery: with a = mean |W| + c std |W|, T = 0 where |w| < 0.9 a, T = 1 where |w| >= 1.1 a, and T as it was in between;
every weight trains with the gradient at W * T. Baidu's threshold: arXiv 1704.05119, section 3 and table 1.
"""

import math

import pytest
import torch

from lth.pruning.structured.thresholds import BaiduRNN, EpochInWindow, Sensitivity, Splicing
from tests.parity.plain import MLP, PlainMLP, draw, equal, half
from tests.parity.training import DECAY, LR, Start


def spread(values: list[float]) -> tuple[float, float]:
    """Mean, and standard deviation with n - 1."""
    mean = math.fsum(values) / len(values)
    return mean, math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1))


def surgery(weight, mask, low, high):
    """Hysteresis, entry by entry."""
    new = []
    for w, kept in zip(weight.flatten().tolist(), mask.flatten().tolist(), strict=True):
        if abs(w) < low:
            new.append(False)
        elif abs(w) >= high:
            new.append(True)
        else:
            new.append(bool(kept))
    return torch.tensor(new).view(weight.shape)


@pytest.mark.parametrize("growth", [0.0, 0.2])
@pytest.mark.parametrize("c", [0.05, -0.3])
@pytest.mark.parametrize("seed", range(3))
def test_splicing_has_hysteresis_between_two_thresholds(seed, c, growth):
    first, mask = draw(MLP, seed)["first"], half(MLP, 10 + seed)["first"]
    pruner = Splicing(c, growth=growth)
    measured = pruner.measure(first)
    mean, std = spread(first.abs().flatten().tolist())
    assert measured == pytest.approx([mean, std], rel=1e-12)
    for epoch in range(2, 6):
        weight = draw(MLP, 100 * seed + epoch)["first"]
        a = mean + c * (1 + growth * (epoch - 2)) * std
        ours = pruner("first", weight, mask, measured, EpochInWindow(epoch, 2, 10))
        assert torch.equal(ours, surgery(weight, mask, 0.9 * a, 1.1 * a))
        assert (ours & ~mask.bool()).any()  # some come back
        mask = ours


def test_a_weight_at_a_threshold_stays_above_the_lower_and_returns_at_the_higher_one():
    weight = torch.tensor([1.0, -1.0, 2.0, -2.0], dtype=torch.float64)
    pruner = Splicing(0.0, low=1.0, high=2.0)
    for mask in (torch.tensor([True, True, False, False]), torch.tensor([False, False, False, False])):
        assert torch.equal(pruner("w", weight, mask, [1.0, 0.0], EpochInWindow(0, 0, 1)), surgery(weight, mask, 1, 2))


@pytest.mark.parametrize("seed", range(3))
def test_sensitivity_keeps_what_exceeds_a_multiple_of_the_first_standard_deviation(seed):
    first, later = draw(MLP, seed)["first"], draw(MLP, 10 + seed)["first"] / 2
    pruner = Sensitivity(0.4)
    _, std = spread(first.flatten().tolist())
    ours = pruner("first", later, torch.ones_like(later), pruner.measure(first), EpochInWindow(3, 0, 10))
    assert torch.equal(ours, later.abs() > 0.4 * std)


@pytest.mark.parametrize("every", [1, 2, 5])
def test_baidus_threshold_rises_with_two_slopes(every):
    begin, ramp, stop, q, steeper = 2, 12, 22, 0.7, 1.5
    a0 = 2 * q * every / (2 * (ramp - begin) + 3 * (stop - ramp))
    for epoch in range(begin, stop):
        if epoch < ramp:
            expected = a0 * (epoch - begin + 1) / every
        else:
            expected = (a0 * (ramp - begin + 1) + steeper * a0 * (epoch - ramp + 1)) / every
        found = BaiduRNN(q, ramp, steeper).threshold(q, EpochInWindow(epoch, begin, stop, every))
        assert found == pytest.approx(expected, rel=1e-14)


@pytest.mark.slow
def test_five_epochs_of_surgery_train_all_weights_and_let_pruned_ones_return(tmp_path):
    from tests.parity.training import LEVEL
    from tests.support.moving import run_level

    options = ["method=surgery", "method.c=0.1", "method.growth=0.3", "method.rules.all.exclude=[]"]
    start = Start()
    built = run_level(tmp_path, *LEVEL, "recipe.steps=20", *options, watch=(start,))
    net = PlainMLP(start.weights, {n: torch.ones_like(m) for n, m in start.masks.items()})
    measured = {n: spread(net.values[n].abs().flatten().tolist()) for n in net.masks}
    returned = 0
    for step, (x, labels) in enumerate(start.batches):
        epoch, firings = step // 4, 2 if step % 4 == 0 else 1
        for firing in range(firings):  # at an epoch's start, and after every step
            if firing == firings - 1:
                net.step(net.gradients(x, labels), LR, 0.9, DECAY, False)
            for n, (mean, std) in measured.items():
                a = mean + 0.1 * (1 + 0.3 * epoch) * std
                new = surgery(net.values[n], net.masks[n], 0.9 * a, 1.1 * a)
                returned += int((new & (net.masks[n] == 0)).sum())
                net.masks[n] = new.double()
    assert returned > 0
    assert equal(dict(built.masks), net.masks)
    found = {name: p.detach() for name, p in built.net.named_parameters()}
    assert all(torch.allclose(found[name], net.values[name], rtol=0, atol=1e-13) for name in found)
