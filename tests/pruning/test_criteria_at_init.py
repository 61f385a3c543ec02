"""SNIP, GraSP and SynFlow against derivatives taken the slow way, and the worked examples of their papers."""

import copy
from functools import partial
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

from lth import networks
from lth.networks import vgg
from lth.pruning import Masks, allocation, criteria, prune
from lth.pruning.criterion import Batches, GivenBatches
from lth.pruning.linearised import effective
from lth.pruning.restore import preserved
from lth.pruning.topk import largest


class Given(Batches):
    """Batches made by hand."""

    def __init__(self, *sets, image_shape=(1, 2, 2), classes=2):
        self.sets, self.image_shape, self.classes = sets, image_shape, classes

    def draw(self, n):
        return iter(self.sets[:n])

    def per_class(self, k):
        return torch.cat([x for x, _ in self.sets]), torch.cat([y for _, y in self.sets])


def two_class_layer(dtype=torch.float64) -> nn.Module:
    net = nn.Linear(2, 2, bias=False)
    net.weight.data = torch.tensor([[1.0, -1.0], [0.5, 2.0]])
    return net.to(dtype)


def sample(values, label, dtype=torch.float64):
    return torch.tensor([values], dtype=dtype), torch.tensor([label])


def toy(seed=0) -> tuple[nn.Module, Masks, Given]:
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 3)).double()
    masks = Masks.ones(net)
    masks["0.weight"].view(-1)[::3] = 0
    sets = [(torch.randn(7, 5, dtype=torch.float64), torch.randint(0, 3, (7,))) for _ in range(2)]
    return net, masks, Given(*sets)


def loss_under(net, weights, x, y):
    return cross_entropy(functional_call(net, weights, (x,)), y)


def test_snip_is_the_worked_example():
    scores = criteria.snip(two_class_layer(), Masks.ones(two_class_layer()), Given(sample([1.0, 2.0], 0)))
    expected = torch.tensor([[0.9959, 1.9919], [0.4980, 3.9837]], dtype=torch.float64)
    assert torch.allclose(scores["weight"], expected, atol=1e-4)


@pytest.mark.parametrize("bn", ["train", "eval"])
def test_snip_is_the_numerical_derivative_with_respect_to_the_mask(bn):
    net, masks, data = toy()
    with preserved(net):
        scores = criteria.snip(net, masks, data, n_batches=2, samples_per_class=None, bn=bn)
    net.train(bn == "train")
    step = 1e-6
    for name, mask in masks.items():
        for position in range(0, mask.numel(), 2):
            if not mask.view(-1)[position]:
                continue
            slope = 0.0
            for sign in (1, -1):
                moved = {n: m.clone() for n, m in masks.items()}
                moved[name].view(-1)[position] += sign * step
                weights = {n: p * moved[n] if n in moved else p for n, p in net.named_parameters()}
                copied = copy.deepcopy(net)
                slope += sign * sum(loss_under(copied, weights, x, y).item() for x, y in data.sets) / (2 * step)
            assert abs(slope) == pytest.approx(scores[name].view(-1)[position].item(), abs=1e-6)


@pytest.mark.parametrize(
    ("temperature", "expected", "removed"),
    [
        (1.0, [[0.306530, 0.254192], [-0.153265, 0.508383]], {(1, 0), (0, 1)}),
        (200.0, [[1.57225e-7, 4.74533e-7], [-7.86125e-8, 9.49067e-7]], {(1, 0), (0, 0)}),
    ],
)
def test_grasp_is_the_worked_example(temperature, expected, removed):
    net, data = two_class_layer(), Given(sample([1.0, 2.0], 0), sample([2.0, -1.0], 1))
    scores = criteria.grasp(net, Masks.ones(net), data, samples_per_class=1, temperature=temperature)["weight"]
    assert torch.allclose(scores, torch.tensor(expected, dtype=torch.float64), rtol=1e-4)

    def criterion(net, masks, batches):
        return criteria.grasp(net, masks, batches, samples_per_class=1, temperature=temperature)

    masks = prune(net, Masks.ones(net), 0.5, criterion, allocation.global_, data)
    assert {tuple(p.tolist()) for p in (masks["weight"] == 0).nonzero()} == removed


def test_grasp_is_an_explicit_hessian_product():
    net, masks, data = toy()
    net[1] = nn.Identity()
    masks = Masks({n: m for n, m in masks.items() if n in dict(net.named_parameters())})
    x, y = data.per_class(1)
    halves = [(x[:7], y[:7]), (x[7:], y[7:])]
    with preserved(net):
        scores = criteria.grasp(net, masks, data, temperature=1.0)
    flat = torch.cat([(p * masks[n]).flatten() for n, p in net.named_parameters() if n in masks])
    fixed = {n: p.detach() for n, p in net.named_parameters() if n not in masks}

    def total(vector):
        parts = vector.split([m.numel() for m in masks.values()])
        weights = {n: part.view(m.shape) for (n, m), part in zip(masks.items(), parts, strict=True)}
        return sum(loss_under(net, {**weights, **fixed}, a, b) for a, b in halves)

    gradient = torch.func.grad(total)(flat.detach())
    hessian = torch.autograd.functional.hessian(total, flat.detach())
    expected = flat.detach() * (hessian @ gradient)
    found = torch.cat([s.flatten() for s in scores.values()])
    assert torch.allclose(found, expected, rtol=1e-8, atol=1e-12)


def bias_free_chain(seed: int, *widths: int) -> nn.Sequential:
    torch.manual_seed(seed)
    layers = []
    for a, b in pairwise(widths):
        layers += [nn.Linear(a, b, bias=False), nn.ReLU()]
    return nn.Sequential(nn.Flatten(), *layers[:-1])


def test_synflow_is_the_worked_example_and_conserves_flow_in_every_layer():
    net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False))
    net[0].weight.data = torch.tensor([[1.0, -2.0], [3.0, 0.25]])
    net[2].weight.data = torch.tensor([[-1.0, 2.0]])
    scores = criteria.synflow(net, Masks.ones(net), Given(image_shape=(2,)))
    assert scores["0.weight"].tolist() == [[1.0, 2.0], [6.0, 0.5]]
    assert scores["2.weight"].tolist() == [[3.0, 6.5]]
    chain = bias_free_chain(0, 16, 32, 24, 4)
    flows = [float(s.sum()) for s in criteria.synflow(chain, Masks.ones(chain), Given(image_shape=(1, 4, 4))).values()]
    assert flows == pytest.approx([flows[0]] * 3, rel=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_one_round_of_synflow_empties_the_middle_layer_and_a_hundred_rounds_none(seed):
    net, data = bias_free_chain(seed, 16, 256, 256, 4), Given(image_shape=(1, 4, 4))
    once = prune(net, Masks.ones(net), 0.05, criteria.synflow, allocation.global_, data)
    assert once.kept_by_layer()["3.weight"] == 0
    often = prune(net, Masks.ones(net), 0.05, criteria.synflow, allocation.global_, data, rounds=100)
    assert min(often.kept_by_layer().values()) > 0
    assert once.kept == often.kept == 3533


def test_synflow_uses_no_data_and_no_training_gradient():
    net = networks.lenet5(classes=4, channels=1, image_size=16)
    shape = (1, 16, 16)
    a = criteria.synflow(
        net, Masks.ones(net), Given((torch.randn(4, *shape), torch.zeros(4).long()), image_shape=shape)
    )
    b = criteria.synflow(net, Masks.ones(net), Given(image_shape=shape))
    assert all(torch.equal(a[name], b[name]) for name in a)
    batch = Given((torch.randn(8, *shape), torch.arange(8) % 4))
    with preserved(net):
        trained = criteria.snip(net, Masks.ones(net), batch)
    flow, loss = (largest(scores, 3000) for scores in (a, {n: s.double() for n, s in trained.items()}))
    both = sum(int((flow[name] & loss[name]).sum()) for name in flow)
    assert both < 0.8 * 3000, "not |w g| of the training loss"


SMALL = {"resnet20": networks.resnet20, "narrow resnet18": partial(networks.resnet18, widths=(16, 32, 64, 128))}


@pytest.mark.slow
@pytest.mark.parametrize("name", [*SMALL, pytest.param("narrow vgg16", marks=pytest.mark.engine)])
def test_synflow_at_one_percent_empties_nothing_but_shortcuts_and_keeps_the_network_connected(name, monkeypatch):
    monkeypatch.setattr(vgg, "WIDTHS", (32, 64, 128, 256, 256))
    torch.manual_seed(0)
    net = SMALL.get(name, networks.vgg16)(classes=10, channels=3, image_size=32)
    data = Given(image_shape=(3, 32, 32))
    masks = prune(net, Masks.ones(net), 0.01, criteria.synflow, allocation.global_, data, rounds=100)
    empty = {layer for layer, kept in masks.kept_by_layer().items() if kept == 0}
    assert all("shortcut" in layer for layer in empty)
    with preserved(net):
        live = effective(net, masks, (3, 32, 32))
    assert all(live["classifier.weight"].any(1)), "every class has a path"
    once = prune(net, Masks.ones(net), 0.01, criteria.synflow, allocation.global_, data)
    assert sum(kept == 0 for kept in once.kept_by_layer().values()) > len(empty)


@pytest.mark.parametrize("criterion", [criteria.snip, criteria.grasp, criteria.synflow])
def test_a_criterion_without_data_says_so(criterion):
    net = two_class_layer()
    with pytest.raises(ValueError, match="data"):
        criterion(net, Masks.ones(net), None)


def test_a_scoring_set_is_given_one_way():
    net = two_class_layer()
    with pytest.raises(ValueError, match="give one of n_batches"):
        criteria.snip(net, Masks.ones(net), Given(), n_batches=1, samples_per_class=1)


CRITERIA = {"snip": criteria.snip, "grasp": criteria.grasp, "synflow": criteria.synflow}


@pytest.mark.slow
@pytest.mark.parametrize("name", CRITERIA)
def test_scoring_inside_prune_leaves_no_trace(name):
    torch.manual_seed(0)
    net = networks.resnet20(classes=3, channels=1, image_size=8)
    x, y = torch.randn(6, 1, 8, 8), torch.arange(6) % 3
    net(x).sum().backward()
    before = {n: t.clone() for n, t in net.state_dict().items()}
    grads, state = [p.grad.clone() for p in net.parameters()], torch.get_rng_state()
    prune(net, Masks.ones(net), 0.5, CRITERIA[name], allocation.global_, Given((x, y), image_shape=(1, 8, 8)))
    assert all(torch.equal(before[n], t) for n, t in net.state_dict().items())
    assert all(torch.equal(p.grad, g) for p, g in zip(net.parameters(), grads, strict=True))
    assert torch.equal(torch.get_rng_state(), state)
    assert net.training


def test_synflow_of_a_network_that_repeats_its_forward_pass_in_the_backward_pass_is_the_same():
    """Activation checkpointing, as in torchvision's memory-efficient DenseNet."""

    class Checkpointed(nn.Sequential):
        def forward(self, x):
            return checkpoint(super().forward, x, use_reentrant=False)

    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))
    repeated = Checkpointed(*copy.deepcopy(list(plain)))
    masks, batches = Masks.ones(plain), Given(image_shape=(2, 4, 4))
    expected, found = (criteria.synflow(net, masks, batches) for net in (plain, repeated))
    assert all(torch.equal(expected[name], found[name]) for name in masks)
    assert all(found[name].any() for name in masks)
    assert repeated[0].weight.dtype == torch.float32


def test_a_flow_that_overflows_names_the_key_that_helps():
    net = nn.Sequential(nn.Flatten(), *[nn.Linear(8, 8) for _ in range(4)])
    with torch.no_grad():
        for layer in net[1:]:
            layer.weight.fill_(1e12)
    batches, masks = Given(image_shape=(1, 2, 4)), Masks.ones(net)
    with pytest.raises(ValueError, match=r"not finite in float32: take method\.criterion\.dtype=float64"):
        criteria.synflow(net, masks, batches, dtype="float32")
    assert all(score.isfinite().all() for score in criteria.synflow(net, masks, batches).values())


@pytest.mark.parametrize("criterion", [criteria.snip, criteria.grasp, criteria.synflow])
def test_a_script_gives_prune_batches_of_inputs_and_labels(criterion):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, 3))
    loader = [(torch.randn(9, 3, 2, 2), torch.arange(9) % 3) for _ in range(4)]
    masks = prune(net, Masks.ones(net), 0.5, criterion, batches=loader)
    assert masks.kept == 60
    x, y = GivenBatches(loader).per_class(5)
    assert y.tolist() == [0, 1, 2] * 5  # so that each half of the batch, which GraSP scores, holds all classes
    assert torch.equal(x[:9:3], loader[0][0][::3])
    assert torch.equal(x[9], loader[1][0][0])


def test_a_script_gives_prune_a_loss_of_its_own():
    torch.manual_seed(0)
    net, x = nn.Linear(6, 4), torch.randn(5, 6)

    def loss(network, batch):
        return network(batch["x"]).square().mean()

    snip = partial(criteria.snip, n_batches=1, samples_per_class=None)
    masks = prune(net, Masks.ones(net), 0.25, snip, batches=GivenBatches([{"x": x}], loss))
    score = (torch.autograd.grad(loss(net, {"x": x}), net.weight)[0] * net.weight).abs().flatten()
    assert torch.equal(masks["weight"].flatten().nonzero().flatten(), score.topk(6).indices.sort().values)
