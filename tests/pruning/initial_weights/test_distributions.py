"""Initial weights under a mask: each rule's distribution, and a repair that comes nearer to orthogonality."""

import math

import pytest
import torch
from torch import nn

from lth.networks import resnet20
from lth.pruning import Masks
from lth.pruning.initial_weights import distributions
from lth.pruning.initial_weights._orthogonal import _residual, orthogonalise
from lth.pruning.masks import fingerprint

RULES = [
    distributions.normal,
    distributions.uniform,
    distributions.bimodal,
    distributions.scaled,
    distributions.orthogonal,
]
DRAWN = RULES[:4]


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(8, 64, 5), nn.BatchNorm2d(64), nn.ReLU(), nn.Conv2d(64, 128, 3), nn.Linear(300, 400))


def thinned(net: nn.Module, *densities: float, seed: int = 0) -> Masks:
    """Random masks with these densities, layer by layer."""
    masks, random = Masks.ones(net), torch.Generator().manual_seed(seed)
    for mask, density in zip(masks.values(), densities, strict=True):
        mask.copy_(torch.rand(mask.shape, generator=random) < density)
    return masks


def kept(net: nn.Module, masks: Masks) -> dict[str, torch.Tensor]:
    """The weights that masks keep, flat, by layer."""
    return {name: w.detach()[masks[name].bool()] for name, w in zip(masks, masks.weights(net), strict=True)}


def fan_in(mask: torch.Tensor) -> int:
    return mask[0].numel()


@pytest.mark.parametrize("rule", [distributions.normal, distributions.uniform])
def test_the_variance_is_kaimings_over_the_density_of_each_layer(rule):
    net = network()
    masks = thinned(net, 0.9, 0.1, 0.4)
    rule(net, masks, 0)
    for name, values in kept(net, masks).items():
        density = len(values) / masks[name].numel()
        assert values.var().item() == pytest.approx(2 / (fan_in(masks[name]) * density), rel=0.05)
        assert abs(values.mean()) < 4 * values.std() / len(values) ** 0.5


@pytest.mark.slow
def test_what_an_output_receives_has_the_same_variance_at_every_density():
    """Why the rule divides by the density: 2 times that of the input, which ReLU halves."""
    x = torch.randn(4000, 500)
    for density in (1.0, 0.3, 0.05):
        net = nn.Linear(500, 300, bias=False)
        distributions.normal(net, thinned(net, density), 0)
        assert net(x).var().item() == pytest.approx(2, rel=0.1)


def test_normal_weights_are_normal():
    net = network()
    masks = thinned(net, 0.9, 0.5, 0.5)
    distributions.normal(net, masks, 0)
    for values in kept(net, masks).values():
        scores = values / values.std()
        for bound, share in ((1, 0.6827), (2, 0.9545)):
            assert (scores.abs() < bound).float().mean().item() == pytest.approx(share, abs=0.01)


def test_uniform_weights_are_symmetric_bounded_and_flat():
    net = network()
    masks = thinned(net, 0.9, 0.1, 0.4)
    distributions.uniform(net, masks, 0)
    for name, values in kept(net, masks).items():
        density = len(values) / masks[name].numel()
        bound = math.sqrt(3 * 2 / (fan_in(masks[name]) * density))
        assert 0.99 * bound < values.abs().max() <= bound
        assert (values > 0).float().mean().item() == pytest.approx(0.5, abs=4 * 0.5 / len(values) ** 0.5)
        shares = torch.histc(values, 8, -bound, bound) / len(values)
        assert torch.allclose(shares, torch.full((8,), 1 / 8), atol=0.02)


def test_bimodal_weights_have_two_modes_and_nothing_between():
    net = network()
    masks = thinned(net, 0.9, 0.1, 0.4)
    distributions.bimodal(net, masks, 0, mu=1.0)
    for name, values in kept(net, masks).items():
        std = math.sqrt(2 / (fan_in(masks[name]) * len(values) / masks[name].numel()))
        above, below = values[values > 0], values[values < 0]
        assert len(above) / len(values) == pytest.approx(0.5, abs=4 * 0.5 / len(values) ** 0.5)
        assert above.mean().item() == pytest.approx(1, abs=0.03)
        assert below.mean().item() == pytest.approx(-1, abs=0.03)
        assert above.std().item() == pytest.approx(std, rel=0.1)
        assert (values.abs() < 0.25).float().mean() < 0.01 < 0.9 < ((values.abs() - 1).abs() < 3 * std).float().mean()


def test_scaled_weights_know_one_density_for_the_whole_network():
    net = network()
    masks = thinned(net, 1.0, 0.1, 0.4)
    distributions.scaled(net, masks, 0)
    for name, values in kept(net, masks).items():
        gain = nn.init.calculate_gain("leaky_relu", 5**0.5)
        expected = gain / math.sqrt(fan_in(masks[name]) * masks.density)
        assert values.std().item() == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("rule", RULES)
def test_pruned_weights_are_zero_the_others_new_and_nothing_else_is_touched(rule):
    net = network()
    masks = thinned(net, 0.5, 0.5, 0.5)
    before, state = {n: p.detach().clone() for n, p in net.named_parameters()}, torch.get_rng_state()
    pointers = [p.data_ptr() for p in net.parameters()]
    rule(net, masks, 0, **({"steps": 3} if rule is distributions.orthogonal else {}))
    for name, value in net.named_parameters():
        if name in masks:
            assert (value[~masks[name].bool()] == 0).all()
            assert (value != before[name])[masks[name].bool()].float().mean() > 0.99
        else:
            assert torch.equal(value, before[name])
        assert value.grad is None
        assert value.requires_grad
    assert [p.data_ptr() for p in net.parameters()] == pointers
    assert torch.equal(torch.get_rng_state(), state)


def test_weights_as_drawn_are_left_alone():
    net = network()
    before = fingerprint(net.state_dict())
    distributions.as_drawn(net, thinned(net, 0.5, 0.5, 0.5), 0)
    assert fingerprint(net.state_dict()) == before


@pytest.mark.parametrize("rule", DRAWN)
def test_a_seed_draws_the_same_weights_under_any_mask_up_to_their_scale(rule):
    one, other = network(), network()
    whole, masks = Masks.ones(one), thinned(other, 0.5, 0.5, 0.5)
    options = {"mu": 0.0} if rule is distributions.bimodal else {}
    rule(one, whole, 3, **options)
    rule(other, masks, 3, **options)
    for name, values in kept(other, masks).items():
        ratio = values / dict(one.named_parameters())[name].detach()[masks[name].bool()]
        assert torch.allclose(ratio, ratio[0].expand_as(ratio), rtol=1e-4)
    rule(other, masks, 4)
    assert not torch.equal(kept(other, masks)["0.weight"], kept(one, masks)["0.weight"])


@pytest.mark.parametrize("rule", RULES)
def test_an_empty_layer_becomes_zero_and_not_nan(rule):
    net = network()
    masks = thinned(net, 0.5, 0.0, 0.5)
    rule(net, masks, 0, **({"steps": 2} if rule is distributions.orthogonal else {}))
    assert all(p.isfinite().all() for p in net.parameters())
    assert (net[3].weight == 0).all()


def sparse_matrix(rows: int, columns: int) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    mask = (torch.rand(rows, columns, generator=random) < 0.5).float()
    return torch.randn(rows, columns, generator=random) * (2 / (columns * 0.5)) ** 0.5, mask


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(8, 32), (32, 8)])
def test_orthogonal_repair_lowers_the_residual_tenfold(shape):
    weight, mask = sparse_matrix(*shape)
    given = weight.clone()
    repaired, before, after = orthogonalise(weight, mask, 1000, 1e-2, 1e-6)
    assert before == pytest.approx(_residual(weight * mask).item())
    assert after == pytest.approx(_residual(repaired).item())
    assert after <= before / 10
    assert (repaired[mask == 0] == 0).all()
    assert torch.equal(weight, given), "a pure function"


def test_orthogonal_repair_is_gradient_descent_with_gradients_cleared_at_every_step():
    weight, mask = sparse_matrix(8, 32)
    slow = (weight * mask).requires_grad_()
    optimizer = torch.optim.SGD([slow], lr=1e-2)
    for _ in range(20):
        optimizer.zero_grad()
        torch.linalg.norm(slow @ slow.T - torch.eye(8)).backward()
        slow.grad.mul_(mask)
        optimizer.step()
    repaired, _, _ = orthogonalise(weight, mask, 20, 1e-2, 0.0)
    assert torch.allclose(repaired, slow.detach(), atol=1e-6)


def test_orthogonal_repair_stops_at_its_tolerance():
    weight, mask = sparse_matrix(8, 32)
    _, before, after = orthogonalise(weight, mask, 100_000, 1e-2, 0.5)
    assert 0.4 < after <= 0.5 < before
    unchanged, _, _ = orthogonalise(weight, mask, 1000, 1e-2, 1e6)
    assert torch.equal(unchanged, weight * mask)


def test_the_residual_of_a_kernel_counts_its_positions_as_inputs():
    conv = torch.zeros(2, 2, 1, 2)
    conv.view(2, 4)[0, 1] = conv.view(2, 4)[1, 3] = 1
    assert _residual(conv.flatten(1)) == 0
    assert _residual(torch.eye(3)[:, :2]) == 0
    assert _residual(2 * torch.eye(4)) == pytest.approx(3 * 4**0.5)


@pytest.mark.slow
def test_the_repair_of_a_network_lowers_every_layers_residual_and_says_so(caplog):
    torch.manual_seed(0)
    net = resnet20(classes=4, channels=1, image_size=8, widths=[4, 8, 16])
    masks = thinned(net, *[0.5] * len(Masks.ones(net)))
    masks.apply_(net)
    before = {n: _residual(w.flatten(1)).item() for n, w in kept_whole(net, masks).items()}
    with caplog.at_level("INFO"):
        distributions.orthogonal(net, masks, 0, steps=200)
    after = {n: _residual(w.flatten(1)).item() for n, w in kept_whole(net, masks).items()}
    assert all(after[name] < before[name] for name in masks)
    assert all(name in caplog.text for name in masks)


def kept_whole(net: nn.Module, masks: Masks) -> dict[str, torch.Tensor]:
    return {name: w.detach() for name, w in zip(masks, masks.weights(net), strict=True)}
