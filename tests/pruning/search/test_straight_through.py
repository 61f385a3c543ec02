"""Gradients of scores against autograd on formulas written out, and regularisers against autograd of their formulas."""

import pytest
import torch
from torch.func import functional_call

from lth.pruning.search._straight_through import straight_through
from lth.pruning.search.mask_rules import Largest, Rounded
from lth.pruning.search.regulariser import L1, L1L2, L2, Entropy, Regulariser, Variance, WeightedVariance


def network() -> torch.nn.Sequential:
    torch.manual_seed(0)
    layers = torch.nn.Conv2d(2, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(64, 5)
    return torch.nn.Sequential(*layers).double().requires_grad_(False)


def pieces(signed: bool):
    """Weights, 0/1 flags and scores of the network, a batch, and the loss of given effective weights."""
    net = network()
    names = ["0.weight", "3.weight"]
    weights = [net.get_parameter(name).detach() for name in names]
    flags = [(torch.rand_like(w) < 0.7).double() for w in weights]
    draw = torch.randn_like if signed else torch.rand_like
    scores = [draw(w).requires_grad_() for w in weights]
    x, labels = torch.randn(8, 2, 6, 6).double(), torch.randint(0, 5, (8,))

    def loss(used):
        logits = functional_call(net, dict(zip(names, used, strict=True)), (x,))
        return torch.nn.functional.cross_entropy(logits, labels)

    return weights, flags, scores, loss


@pytest.mark.parametrize("signed", [False, True], ids=["gem_miner", "edge_popup"])
def test_scores_get_the_gradient_of_the_formula(signed: bool):
    weights, flags, scores, loss = pieces(signed)
    rule = Largest() if signed else Rounded()
    masks = rule([s.detach() for s in scores], flags, 0.4)
    used = straight_through(scores, masks, [w * f for w, f in zip(weights, flags, strict=True)], rule.signed)
    gradients = torch.autograd.grad(loss(used), scores)

    effective = [(w * m * f).requires_grad_() for w, m, f in zip(weights, masks, flags, strict=True)]
    for gradient, of_loss, w, f, s, m in zip(
        gradients, torch.autograd.grad(loss(effective), effective), weights, flags, scores, masks, strict=True
    ):
        sign = s.detach().sign() if signed else 1.0
        assert torch.allclose(gradient, sign * f * w * of_loss, atol=1e-6, rtol=0)
        assert (gradient[f == 0] == 0).all()
        assert set(m.flatten().tolist()) == {0.0, 1.0}
        assert (gradient[(f == 1) & (m == 0)] != 0).double().mean() > 0.5  # what is left out may come back


@pytest.mark.parametrize("signed", [False, True], ids=["gem_miner", "edge_popup"])
def test_the_gradient_is_that_of_a_mask_which_passes_it_through(signed: bool):
    """The straight-through estimator as everybody writes it: hard + soft - soft.detach()."""
    weights, flags, scores, loss = pieces(signed)
    rule = Largest() if signed else Rounded()
    masks = rule([s.detach() for s in scores], flags, 0.4)
    soft = [s.abs() if signed else s for s in scores]
    passing = [w * f * (m + z - z.detach()) for w, f, m, z in zip(weights, flags, masks, soft, strict=True)]
    expected = torch.autograd.grad(loss(passing), scores)
    used = straight_through(scores, masks, [w * f for w, f in zip(weights, flags, strict=True)], rule.signed)
    for one, other in zip(torch.autograd.grad(loss(used), scores), expected, strict=True):
        assert torch.allclose(one, other, atol=1e-12, rtol=0)


def entropy(s: torch.Tensor) -> torch.Tensor:
    return -torch.xlogy(s, s) - torch.xlogy(1 - s, 1 - s)


PENALTIES = {
    "none": (Regulariser(), lambda s, w: 0 * s),
    "l2": (L2(), lambda s, w: s**2),
    "l1": (L1(), lambda s, w: s.abs()),
    "l1_l2": (L1L2(), lambda s, w: s.abs() + s**2),
    "variance": (Variance(), lambda s, w: s * (1 - s)),
    "variance 2 3": (Variance(2.0, 3.0), lambda s, w: s**2 * (1 - s) ** 3),
    "weighted_variance": (WeightedVariance(), lambda s, w: w**2 * s * (1 - s)),
    "entropy": (Entropy(), lambda s, w: entropy(s)),
}


@pytest.mark.parametrize("name", PENALTIES)
def test_a_regularisers_gradient_is_that_of_its_formula(name: str):
    regulariser, formula = PENALTIES[name]
    torch.manual_seed(0)
    scores = [(0.02 + 0.96 * torch.rand(n).double()).requires_grad_() for n in (7, 12)]
    weights = [torch.randn(n).double() for n in (7, 12)]
    value = sum(formula(s, w).sum() for s, w in zip(scores, weights, strict=True))
    expected = torch.autograd.grad(value, scores)
    for given, by_autograd in zip(regulariser.gradient([s.detach() for s in scores], weights), expected, strict=True):
        assert torch.allclose(given, by_autograd, atol=1e-12)


def test_the_gradient_of_the_entropy_is_zero_at_its_ends():
    ends = [torch.tensor([0.0, 1.0])]
    assert Entropy().gradient(ends, ends)[0].tolist() == [0, 0]


@pytest.mark.parametrize(("a", "b"), [(1.0, 1.0), (2.0, 1.0), (1.5, 3.0)])
def test_variance_pulls_finitely_where_scores_are_clipped(a: float, b: float):
    (gradient,) = Variance(a, b).gradient([torch.tensor([0.0, 0.5, 1.0])], [torch.ones(3)])
    assert torch.isfinite(gradient).all()


def test_variance_that_would_pull_infinitely_is_refused():
    with pytest.raises(ValueError, match="must be 1 or more"):
        Variance(0.5, 1.0)
