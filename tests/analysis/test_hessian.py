"""The top eigenvalue of a tiny network's Hessian, against the whole Hessian."""

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from lth.analysis.hessian import _hessian_vector, top_eigenvalue


def tiny(density: float) -> tuple[nn.Module, dict, list]:
    torch.manual_seed(3)
    conv = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Tanh(), nn.Flatten())
    net = nn.Sequential(conv, nn.Dropout(), nn.Linear(8, 3)).double()
    net(torch.randn(20, 1, 4, 4).double())  # statistics that are not 0 and 1
    masks = {name: torch.rand(p.shape) < density for name, p in net.named_parameters() if p.ndim > 1}
    batches = [(torch.randn(n, 1, 4, 4).double(), torch.randint(3, (n,))) for n in (5, 3)]
    return net, masks, batches


def whole_hessian(net, masks, batches) -> torch.Tensor:
    """Rows and columns of the parameters that are not pruned, one derivative after another."""
    named = dict(net.named_parameters())
    kept = torch.cat([masks.get(n, torch.ones_like(p, dtype=torch.bool)).flatten() for n, p in named.items()])
    x, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    free = torch.cat([p.detach().flatten() for p in named.values()])[kept].requires_grad_()
    flat = torch.zeros(len(kept), dtype=torch.float64).masked_scatter(kept, free)
    parts = flat.split([p.numel() for p in named.values()])
    point = {n: part.view(p.shape) for (n, p), part in zip(named.items(), parts, strict=True)}
    loss = cross_entropy(functional_call(net.eval(), point, (x,)), labels)
    (gradient,) = torch.autograd.grad(loss, free, create_graph=True)
    return torch.stack([torch.autograd.grad(g, free, retain_graph=True)[0] for g in gradient])


@pytest.mark.slow
@pytest.mark.parametrize("density", [pytest.param(1.0, marks=pytest.mark.engine), 0.5])
def test_it_is_the_largest_eigenvalue_of_the_whole_hessian_over_what_is_kept(density):
    net, masks, batches = tiny(density)
    value, residual = top_eigenvalue(net, masks, batches, iterations=500)
    eigenvalues = torch.linalg.eigvalsh(whole_hessian(net, masks, batches))
    assert value == pytest.approx(float(eigenvalues[-1]), rel=1e-6)
    assert residual < 1e-3


@pytest.mark.slow
def test_pruned_weights_do_not_count():
    net, masks, batches = tiny(0.3)
    dense = {name: torch.ones_like(mask) for name, mask in masks.items()}
    for name, mask in masks.items():  # the same point, another subspace
        net.get_parameter(name).data.mul_(mask)
    assert top_eigenvalue(net, masks, batches)[0] < top_eigenvalue(net, dense, batches)[0]


def test_a_larger_negative_eigenvalue_is_not_mistaken_for_the_top(monkeypatch):
    spectrum = torch.tensor([-5.0, 2.0, 1.0])
    monkeypatch.setattr("lth.analysis.hessian._hessian_vector", lambda *_: lambda v: {"p": spectrum * v["p"]})
    net = nn.Module()
    net.p = nn.Parameter(torch.ones(3))
    value, residual = top_eigenvalue(net, {}, [], iterations=200)
    assert value == pytest.approx(2.0, rel=1e-5)
    assert residual < 1e-3


@pytest.mark.slow
def test_too_few_iterations_show_in_the_residual():
    net, masks, batches = tiny(0.5)
    assert top_eigenvalue(net, masks, batches, iterations=1)[1] > 0.1


def test_a_product_is_the_hessian_times_the_vector():
    net, masks, batches = tiny(1.0)
    at = {n: p.detach() for n, p in net.eval().named_parameters()}
    vector = {n: torch.randn_like(p) for n, p in at.items()}
    expected = whole_hessian(net, masks, batches) @ torch.cat([v.flatten() for v in vector.values()])
    found = torch.cat([v.flatten() for v in _hessian_vector(net, at, batches)(vector).values()])
    assert torch.allclose(found, expected, atol=1e-10)


def test_the_network_comes_back_as_it_was():
    net, masks, batches = tiny(0.5)
    net.train()
    net[0][1].eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    top_eigenvalue(net, masks, batches, iterations=2)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert (net.training, net[0][1].training) == (True, False)
