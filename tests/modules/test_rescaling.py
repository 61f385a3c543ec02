"""One factor on the logits: how it is found, and where in the network it goes."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from lth.callbacks.within.rescale import _fit_scale
from lth.modules._scaled_weights import _rescale_


def batch(spread: float) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    logits = spread * torch.randn(32, 5, generator=random)
    noisy = logits + 2 * spread * torch.randn(32, 5, generator=random)
    return logits, noisy.argmax(1)


@pytest.mark.parametrize("spread", [0.1, 1.0, 3.0])
def test_the_factor_is_that_of_twenty_steps_of_sgd(spread: float):
    logits, labels = batch(spread)
    scale = torch.ones((), dtype=torch.float64, requires_grad=True)
    sgd = torch.optim.SGD([scale], lr=0.1)
    for _ in range(20):
        sgd.zero_grad()
        cross_entropy(scale * logits.double(), labels).backward()
        sgd.step()
    assert scale != 1
    assert _fit_scale(logits, labels) == pytest.approx(scale.item(), rel=1e-12)


def test_a_factor_that_is_not_over_zero_becomes_one():
    logits, labels = batch(3.0)
    wrong = logits.argmin(1)  # the best factor is negative
    assert _fit_scale(logits, labels) != 1
    assert _fit_scale(logits, wrong) == 1
    assert _fit_scale(logits * torch.nan, labels) == 1


def test_a_share_of_a_batch_with_the_sums_over_the_whole_gives_the_factor_of_the_whole():
    logits, labels = batch(1.0)
    whole = []
    _fit_scale(logits, labels, lambda part: whole.append(part) or part)
    seen = iter(whole)
    assert _fit_scale(logits[:7], labels[:7], lambda part: next(seen)) == _fit_scale(logits, labels)


class Plain(nn.Module):
    """Three layers with biases; between them ReLU, after batch norm where asked."""

    def __init__(self, norm: bool):
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3)
        self.norm = nn.BatchNorm2d(6, affine=False, eps=1e-12) if norm else nn.Identity()
        self.second = nn.Linear(6, 8)
        self.head = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.first(x)).relu().mean((2, 3))
        return self.head(self.second(x).relu())


def test_between_relus_the_logits_are_multiplied_and_each_layer_has_its_share():
    net, x = Plain(norm=False), torch.randn(9, 3, 8, 8)
    before = copy.deepcopy(net)
    _rescale_(net, 2.5)
    assert torch.allclose(net(x), 2.5 * before(x), atol=1e-5)
    for layer, place in (("first", 1), ("second", 2), ("head", 3)):
        now, then = getattr(net, layer), getattr(before, layer)
        assert torch.allclose(now.weight, then.weight * 2.5 ** (1 / 3))
        assert torch.allclose(now.bias, then.bias * 2.5 ** (place / 3))


def test_batch_norm_gives_what_it_gave_before():
    net, x = Plain(norm=True), torch.randn(9, 3, 8, 8)
    net(x)
    net.eval()
    before = copy.deepcopy(net)
    _rescale_(net, 2.5)
    assert torch.allclose(net.norm(net.first(x)), before.norm(before.first(x)), atol=1e-5)
