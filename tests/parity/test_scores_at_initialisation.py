"""Criteria at initialisation: SNIP (arXiv 1810.02340), GraSP (arXiv 2002.07376), SynFlow (arXiv 2006.05467).

SNIP is |dL/dc| of multiplicative masks c, here by central differences over one mask at a time. GraSP keeps the largest
w * (H g), here with a Hessian written out entry by entry. SynFlow is the sum over all paths through a weight of the
products of absolute weights, here path by path.
"""

from copy import deepcopy
from itertools import pairwise, product
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from lth import networks
from lth.pruning import Masks, allocation, criteria, prune
from lth.pruning.criterion import Batches
from tests.parity.plain import equal, keep_largest, logits, nearest

SIZES = (4, 5, 3)
SEEDS = range(3)


class Samples(Batches):
    """Images and labels that are given at once."""

    image_shape, classes = (1, 2, 2), 3

    def __init__(self, seed: int, count: int = 6):
        random = torch.Generator().manual_seed(seed)
        self.x = torch.randn(count, 4, generator=random, dtype=torch.float64)
        self.y = torch.randint(0, 3, (count,), generator=random)

    def per_class(self, k):
        return self.x, self.y

    def draw(self, n):
        return iter([(self.x[:2], self.y[:2]), (self.x[2:], self.y[2:])][:n])


def network(seed: int, sizes=SIZES, values: int | None = None) -> nn.Module:
    torch.manual_seed(seed)
    layers = [nn.Flatten()]
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs, bias=False), nn.ReLU()]
    net = nn.Sequential(*layers[:-1]).double()
    if values:
        for p in net.parameters():
            p.data = (p.data * values).round() / values
    return net


def weights_of(net: nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in net.named_parameters()}


def sparse(net: nn.Module, seed: int) -> Masks:
    masks, random = Masks.ones(net), torch.Generator().manual_seed(100 + seed)
    for mask in masks.values():
        mask.copy_(torch.rand(mask.shape, generator=random) < 0.7)
    return masks


def entries(tensors):
    return [(name, index) for name, t in tensors.items() for index in product(*map(range, t.shape))]


@pytest.mark.parametrize("whole", [True, False], ids=["all weights", "a mask"])
@pytest.mark.parametrize("seed", SEEDS)
def test_snip_is_the_change_of_the_loss_with_each_mask(seed, whole):
    net, data, step = network(seed), Samples(seed), 1e-5
    masks = Masks.ones(net) if whole else sparse(net, seed)
    weights = {name: w * masks[name] for name, w in weights_of(net).items()}

    def loss(name, index, c):
        changed = weights[name].clone()
        changed[index] *= c
        return cross_entropy(logits({**weights, name: changed}, data.x), data.y)

    scores = criteria.snip(net, masks, data)
    for name, index in entries(weights):
        slope = (loss(name, index, 1 + step) - loss(name, index, 1 - step)) / (2 * step)
        assert scores[name][index] == pytest.approx(abs(float(slope)), abs=1e-8)


def test_snip_of_several_batches_sums_gradients_before_the_absolute_value():
    net, data = network(0), Samples(0)
    weights = weights_of(net)
    total = {name: torch.zeros_like(w) for name, w in weights.items()}
    for x, y in data.draw(2):
        leaves = {name: w.clone().requires_grad_() for name, w in weights.items()}
        gradients = torch.autograd.grad(cross_entropy(logits(leaves, x), y), list(leaves.values()))
        for name, g in zip(leaves, gradients, strict=True):
            total[name] += g
    scores = criteria.snip(net, Masks.ones(net), data, n_batches=2, samples_per_class=None)
    for name, index in entries(weights):
        assert scores[name][index] == pytest.approx(abs(float(total[name][index] * weights[name][index])), abs=1e-14)


@pytest.mark.parametrize("temperature", [1.0, 200.0])
@pytest.mark.parametrize("seed", SEEDS)
def test_grasp_is_the_product_of_weight_hessian_and_gradient(seed, temperature):
    net, data = network(seed), Samples(seed)
    weights = weights_of(net)
    flat = torch.cat([w.flatten() for w in weights.values()])

    def loss(vector, x, y):
        parts = vector.split([w.numel() for w in weights.values()])
        shaped = {n: p.view(w.shape) for (n, w), p in zip(weights.items(), parts, strict=True)}
        return cross_entropy(logits(shaped, x) / temperature, y)

    gradient, product_ = torch.zeros_like(flat), [0.0] * len(flat)
    halves = [(data.x[:3], data.y[:3]), (data.x[3:], data.y[3:])]
    for x, y in halves:
        gradient += torch.autograd.functional.jacobian(lambda v, x=x, y=y: loss(v, x, y), flat)
    for x, y in halves:
        hessian = torch.autograd.functional.hessian(lambda v, x=x, y=y: loss(v, x, y), flat)
        for i in range(len(flat)):
            for j in range(len(flat)):
                product_[i] += float(hessian[i, j] * gradient[j])
    scores = criteria.grasp(net, Masks.ones(net), data, temperature=temperature)
    found = torch.cat([scores[name].flatten() for name in weights])
    expected = flat * torch.tensor(product_, dtype=torch.float64)
    assert torch.allclose(found, expected, rtol=1e-9, atol=1e-16)


def flow(weights):
    """The flow through each weight: the sum over all paths from input to output of the products of |w|."""
    layers = list(weights)
    sizes = [weights[layers[0]].shape[1], *(weights[name].shape[0] for name in layers)]
    scores = {name: torch.zeros_like(w) for name, w in weights.items()}
    for path in product(*map(range, sizes)):
        along = 1.0
        for name, inputs, outputs in zip(layers, path[:-1], path[1:], strict=True):
            along *= abs(float(weights[name][outputs, inputs]))
        for name, inputs, outputs in zip(layers, path[:-1], path[1:], strict=True):
            scores[name][outputs, inputs] += along
    return scores


@pytest.mark.parametrize("whole", [True, False], ids=["all weights", "a mask"])
@pytest.mark.parametrize("sizes", [SIZES, (4, 3, 2, 3)], ids=["two layers", "three layers"])
@pytest.mark.parametrize("seed", SEEDS)
def test_synflow_is_the_flow_along_all_paths(seed, sizes, whole):
    net = network(seed, sizes)
    masks = Masks.ones(net) if whole else sparse(net, seed)
    expected = flow({name: w * masks[name] for name, w in weights_of(net).items()})
    scores = criteria.synflow(net, masks, Samples(seed))
    assert all(torch.allclose(scores[name], expected[name], rtol=1e-12, atol=0) for name in expected)
    sums = [float(score.sum()) for score in expected.values()]
    assert sums == pytest.approx([sums[0]] * len(sums))  # the paper's conservation, which the reference has too


@pytest.mark.parametrize("values", [None, 4], ids=["distinct", "ties"])
@pytest.mark.parametrize("seed", SEEDS)
def test_iterative_synflow_scores_again_at_each_of_its_densities(seed, values):
    net, rounds, density = network(seed, (4, 3, 2, 3), values), 10, 0.4
    weights = weights_of(net)
    total = sum(w.numel() for w in weights.values())
    kept, counts, seen = {name: torch.ones(w.shape, dtype=torch.bool) for name, w in weights.items()}, [total], []

    def criterion(net, masks, batches):
        seen.append(masks.kept)
        return rounded(criteria.synflow(net, masks, batches))

    for k in range(1, rounds + 1):
        scores = rounded(flow({name: w * kept[name] for name, w in weights.items()}))
        counts.append(nearest(density ** (k / rounds) * total))
        kept = keep_largest(scores, counts[-1], kept)
    masks = prune(net, Masks.ones(net), density, criterion, allocation.global_, Samples(seed), rounds=rounds)
    assert equal(dict(masks), kept)
    assert [*seen, masks.kept] == counts


@pytest.mark.parametrize("seed", SEEDS)
def test_synflow_by_the_statistics_of_its_image_is_the_gradient_of_a_network_in_training(seed):
    torch.manual_seed(seed)
    net = networks.resnet20(classes=3, channels=1, image_size=8)
    masks = sparse(net, seed)
    plain = deepcopy(net).double().train()
    with torch.no_grad():
        for name, parameter in plain.named_parameters():
            parameter.copy_(parameter.abs() * masks.get(name, torch.ones(())))
    plain(torch.ones(1, 1, 8, 8, dtype=torch.float64)).sum().backward()
    found = criteria.synflow(net, masks, SimpleNamespace(image_shape=(1, 8, 8)), bn="train")
    for name, parameter in plain.named_parameters():
        if name in masks:
            assert torch.allclose(found[name], (parameter.grad * parameter.detach()).abs(), rtol=1e-9, atol=1e-12)
    assert int(net.bn1.num_batches_tracked) == 0, "scoring must not count as training"


def rounded(scores):
    """Sums over equal paths in another order differ in their last bits, which must not decide ties."""
    return {name: (score * 1e9).round() for name, score in scores.items()}
