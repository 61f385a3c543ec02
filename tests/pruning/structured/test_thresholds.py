"""Element pruners against thresholds computed by hand."""

import pytest
import torch

from lth.pruning.structured.thresholds import BaiduRNN, EpochInWindow, Sensitivity, Splicing, Threshold, prune_elements

W = torch.tensor([0.1, -0.2, 0.3, -0.4, 0.5, -0.6, 0.7, -0.8])
ONES = torch.ones(8)
START = EpochInWindow(0, 0, 10)


def test_thresholds_by_layer_with_a_default():
    pruner = Threshold({"a": 0.35, "default": 0.55})
    pruner.check(["a.weight", "b.weight"])
    assert pruner("a.weight", W, ONES, [], START).sum() == 5
    assert pruner("b.weight", W, ONES, [], START).sum() == 3
    with pytest.raises(ValueError, match=r"settings for \['c'\], which are not among"):
        Threshold({"c": 0.1, "default": 0.2}).check(["a.weight"])
    with pytest.raises(ValueError, match=r"no entry for 'b.weight', and no default"):
        Threshold({"a": 0.1}).check(["a.weight", "b.weight"])


def test_sensitivity_keeps_the_threshold_of_the_first_firing():
    pruner = Sensitivity(0.5)
    measured = pruner.measure(W)
    assert measured == pytest.approx([float(W.double().std())])
    assert torch.equal(pruner("w", W, ONES, measured, START), W.abs() > 0.5 * W.std())
    assert not pruner("w", W / 100, ONES, measured, START).any()


def test_splicing_lets_weights_return_between_two_thresholds():
    pruner = Splicing(c=0.0, low=0.9, high=1.1)
    measured = pruner.measure(W)
    a = float(W.abs().mean())  # 0.45
    assert measured[0] == pytest.approx(a)
    first = pruner("w", W, ONES, measured, START)
    assert first.tolist() == [False, False, False, False, True, True, True, True]
    moved = torch.tensor([0.6, -0.2, 0.47, -0.4, 0.47, -0.3, 0.7, -0.8])
    second = pruner("w", moved, first, measured, START)
    assert second.tolist() == [True, False, False, False, True, False, True, True]
    allowed = torch.tensor([0.0, 1, 1, 1, 1, 1, 1, 1])
    assert not prune_elements(pruner, "w", moved, first, measured, START, allowed)[0]


def test_the_threshold_of_splicing_grows():
    pruner = Splicing(c=0.1, growth=0.5)
    mean, std = pruner.measure(W)
    a = mean + 0.1 * (1 + 0.5 * 6) * std
    kept = pruner("w", W, torch.zeros(8), [mean, std], EpochInWindow(8, 2, 10))
    assert torch.equal(kept, W.abs() >= 1.1 * a)
    with pytest.raises(ValueError, match="low=2"):
        Splicing(c=0.1, low=2.0, high=1.0)


def test_baidu_ramps_in_two_slopes():
    pruner = BaiduRNN(q=0.6, ramp=5, steeper=1.5)
    slope = 2 * 0.6 * 2 / (2 * 4 + 3 * 4)  # begin 1, stop 9, every 2
    assert pruner.threshold(0.6, EpochInWindow(3, 1, 9, 2)) == pytest.approx(slope * 3 / 2)
    assert pruner.threshold(0.6, EpochInWindow(7, 1, 9, 2)) == pytest.approx((slope * 5 + 1.5 * slope * 3) / 2)
    thresholds = [pruner.threshold(0.6, EpochInWindow(e, 1, 9, 2)) for e in range(1, 9, 2)]
    assert thresholds == sorted(thresholds)
    with pytest.raises(ValueError, match="ramp=5 lies outside"):
        pruner.threshold(0.6, EpochInWindow(6, 6, 9, 1))


@pytest.mark.parametrize("pruner", [Threshold(0.1), Sensitivity(0.1), BaiduRNN(0.1, 2)])
def test_what_a_pruner_without_return_removed_stays_gone(pruner):
    gone = torch.tensor([1.0, 1, 0, 0, 0, 0, 0, 0])
    new = prune_elements(pruner, "w", W * 10, gone, pruner.measure(W), START, ONES)
    assert not new[2:].any()
    assert not pruner.returns
