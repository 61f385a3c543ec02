"""Soft thresholds: the published example with its gradients, and when weight decay alone makes them prune."""

import math
from functools import partial

import pytest
import torch

from lth.modules._shrinkage import LINKS, epoch_of_threshold, shift_of_thresholds, soft_threshold
from lth.training.schedules import Clock, cosine

EPOCH = 196  # steps


def test_the_worked_example_and_its_gradients():
    weight = torch.tensor([0.5, -0.02, -0.3, 0.2], requires_grad=True)
    s = torch.tensor(math.log(1 / 9), requires_grad=True)
    out = soft_threshold(weight, torch.sigmoid(s))
    assert torch.allclose(out, torch.tensor([0.4, 0, -0.2, 0.1]))
    out.backward(torch.tensor([1.0, 1, 1, 2]))
    assert torch.equal(weight.grad, torch.tensor([1.0, 0, 1, 2]))
    assert float(s.grad) == pytest.approx(-0.18)


def test_gradients_are_those_of_finite_differences():
    weight = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    threshold = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(soft_threshold, (weight, threshold))


def test_weights_come_back_bit_for_bit_while_the_threshold_is_zero():
    weight = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    threshold = torch.sigmoid(torch.tensor(-200.0))
    assert float(threshold) == 0
    assert torch.equal(soft_threshold(weight, threshold), weight)


def test_a_weight_that_is_zero_gets_no_gradient_and_stays_zero():
    weight = torch.tensor([0.0, 0.5], requires_grad=True)
    soft_threshold(weight, torch.tensor(0.0)).sum().backward()
    assert weight.grad.tolist() == [0, 1]


def epochs(start: float, decay: float, length: int, minimum: float, warmup: int) -> list[int | None]:
    """Zero-based epochs in which the threshold exceeds 1e-4, 1e-3 and 1e-2 at learning rate .1 and momentum .9."""
    clock = Clock(partial(cosine, minimum=minimum, warmup=warmup), length * EPOCH, EPOCH, "epoch")

    def rate(step: int) -> float:
        return 0.1 * clock(step)

    reach = (1e-4, 1e-3, 1e-2)
    return [epoch_of_threshold(start, decay, 0.9, rate, length * EPOCH, EPOCH, r) for r in reach]


@pytest.mark.parametrize(
    ("start", "decay", "expected"),
    [(-200, 1e-3, [17, 19, 21]), (-200, 5e-4, [35, 39, 45]), (-100, 5e-4, [27, 30, 35])],
)
def test_when_a_hundred_epochs_with_warmup_begin_to_prune(start: float, decay: float, expected: list[int]):
    assert epochs(start, decay, 100, minimum=0.0, warmup=5) == expected


@pytest.mark.slow
def test_when_160_epochs_without_warmup_begin_to_prune_and_when_they_never_do():
    assert epochs(-200, 1e-3, 160, minimum=0.1, warmup=0) == [15, 17, 19]
    assert epochs(-200, 1e-4, 160, minimum=0.1, warmup=0) == [None] * 3


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("start", [-200.0, -8.0, -0.5])
def test_the_offset_leaves_the_count_asked_for(link: str, count: int, start: float):
    random = torch.Generator().manual_seed(0)
    weights = [torch.randn(n, generator=random) * 0.1 for n in (4000, 500, 5500)]
    s = start + torch.linspace(0, 2, count)
    for kept in (9000, 2000, 150):
        thresholds = LINKS[link](s + shift_of_thresholds(weights, s, link, kept)).expand(3)
        left = sum(int((w.abs() > t).sum()) for w, t in zip(weights, thresholds, strict=True))
        assert left == pytest.approx(kept, rel=1e-3)
