"""Whatever a criterion does to the network, nothing of it is left: not one bit."""

import pytest
import torch
from torch import nn

from lth.pruning import Masks, allocation, criteria, prune
from lth.pruning.masks import fingerprint
from lth.pruning.restore import preserved


def network():
    """As in the middle of training: statistics, some gradients, mixed modes, pruned weights of 0.0 and of -0.0."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Dropout(0.5), nn.Linear(16, 3))
    net.to(memory_format=torch.channels_last)
    net(torch.rand(5, 2, 4, 4)).sum().backward()
    net[4].weight.grad = None
    net[1].eval()
    net[4].bias.requires_grad_(False)
    with torch.no_grad():
        net[0].weight.mul_((torch.rand(4, 2, 3, 3) > 0.5).float())
    assert net[0].weight.signbit()[net[0].weight == 0].any()
    return net


def everything(net):
    """All that must come back, bits and identities."""
    named = {**dict(net.named_parameters()), **dict(net.named_buffers())}
    grads = {name: p.grad for name, p in net.named_parameters()}
    return {
        "bits": fingerprint(named),
        "places": {name: (id(t), t.data_ptr(), t.stride()) for name, t in named.items()},
        "gradients": fingerprint({name: grad for name, grad in grads.items() if grad is not None}),
        "gradient places": {
            name: None if grad is None else (id(grad), grad.data_ptr()) for name, grad in grads.items()
        },
        "requires_grad": {name: p.requires_grad for name, p in net.named_parameters()},
        "modes": {name: m.training for name, m in net.named_modules()},
        "random state": torch.random.get_rng_state().tolist(),
        "autocast": torch.is_autocast_enabled("cpu"),
    }


@torch.no_grad()
def absolute_weights(net):
    for p in net.parameters():
        p.abs_()


@torch.no_grad()
def sign_of_zeros(net):
    """-0.0 becomes 0.0 and nothing else changes: equal numbers, other bits."""
    for p in net.parameters():
        p.add_(0.0)


@torch.no_grad()
def weights(net):
    for p in net.parameters():
        p.data.normal_()


def statistics(net):
    net.train()
    net(torch.rand(3, 2, 4, 4))


def gradients(net):
    net(torch.rand(3, 2, 4, 4)).sum().backward()


def gradients_in_place(net):
    for p in net.parameters():
        p.requires_grad_(True).grad = torch.ones_like(p)


def frozen(net):
    net.requires_grad_(False)


def modes(net):
    net.eval()
    net[1].train()


def random_state(net):
    torch.manual_seed(1)
    torch.rand(7)


def precision(net):
    net.double().requires_grad_(True)
    net.eval()(torch.rand(3, 2, 4, 4, dtype=torch.float64)).sum().backward()


def storage(net):
    net[0].weight.data = torch.zeros(1)


def new_tensors(net):
    net[4].weight = nn.Parameter(torch.zeros(3, 16))
    net[1].running_mean = torch.ones(4)
    net[4].register_buffer("weight_mask", torch.ones(3, 16))
    del net[0].bias


DEEDS = [
    absolute_weights,
    sign_of_zeros,
    weights,
    statistics,
    gradients,
    gradients_in_place,
    frozen,
    modes,
    random_state,
    precision,
    storage,
    new_tensors,
]


def dirty(*deeds, fails=False):
    def criterion(net, masks, batches):
        for deed in deeds:
            deed(net)
        if fails:
            raise RuntimeError("no score")
        return {name: torch.rand(mask.shape) for name, mask in masks.items()}

    return criterion


@pytest.mark.parametrize("fails", [False, True], ids=["", "and raises"])
@pytest.mark.parametrize(
    "deeds", [*([deed] for deed in DEEDS), DEEDS[:9]], ids=lambda deeds: "+".join(d.__name__ for d in deeds)
)
def test_a_dirty_criterion_leaves_no_trace(deeds, fails):
    net = network()
    masks = Masks.ones(net)
    before = everything(net)
    with torch.autocast("cpu", torch.bfloat16):
        if fails:
            with pytest.raises(RuntimeError, match="no score"):
                prune(net, masks, 0.5, dirty(*deeds, fails=True), allocation.global_)
        else:
            prune(net, masks, 0.5, dirty(*deeds), allocation.global_, rounds=2)
    assert everything(net) == before
    assert masks.kept == masks.total
    assert [name for name, _ in net.named_parameters()] == [
        "0.weight",
        "0.bias",
        "1.weight",
        "1.bias",
        "4.weight",
        "4.bias",
    ]


def test_the_network_still_trains_as_if_nothing_had_been_scored():
    def trained(*criteria):
        net = network().train()
        for _ in range(3):
            for criterion in criteria:
                prune(net, Masks.ones(net), 0.5, criterion, allocation.global_)
            net.zero_grad()
            net(torch.ones(3, 2, 4, 4)).square().mean().backward()
            for p in net.parameters():
                if p.grad is not None:
                    p.data.sub_(p.grad, alpha=0.1)
        return fingerprint(net.state_dict())

    assert trained(dirty(*DEEDS[:10])) == trained()


def test_scores_do_not_depend_on_autocast():
    seen = []

    def gradient_times_weight(net, masks, batches):
        net.zero_grad()
        out = net(torch.linspace(-1, 1, 96).view(3, 2, 4, 4))
        seen.append((out.dtype, torch.is_autocast_enabled("cpu")))
        out.square().sum().backward()
        return {name: (w.grad * w).detach().abs() for name, w in zip(masks, masks.weights(net), strict=True)}

    net = network().eval()
    plain = prune(net, Masks.ones(net), 0.5, gradient_times_weight, allocation.global_)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = prune(net, Masks.ones(net), 0.5, gradient_times_weight, allocation.global_)
        assert torch.is_autocast_enabled("cpu")
    assert seen == [(torch.float32, False)] * 2
    assert mixed.digest() == plain.digest()


def test_a_criterion_starts_from_no_gradients():
    net = network()
    with preserved(net):
        assert all(p.grad is None for p in net.parameters())
    assert net[0].weight.grad is not None


def test_a_network_that_shares_memory_in_a_buffer_can_be_scored():
    """An expanded buffer cannot be written: what did not change must not be."""
    net = nn.Linear(3, 2)
    net.register_buffer("ones", torch.ones(1).expand(5))
    prune(net, Masks.ones(net), 0.5, criteria.magnitude, allocation.global_)
    assert net.ones.tolist() == [1.0] * 5
