"""Initialisations by name: scale, unchanged parameters, and dependence on the seed."""

import math

import pytest
import torch
from torch import nn

from lth.networks import initialise_, resnet18, resnet20
from lth.networks._init import _DRAWS, INITS, _fans


def seeded(init, net, seed=0, **options):
    torch.manual_seed(seed)
    return initialise_(net, init, **options)


def weight_of(init, layer, **options):
    return seeded(init, layer, **options).weight.detach()


def conv(inputs=128, outputs=256, **options):
    return nn.Conv2d(inputs, outputs, 3, **options)


@pytest.mark.parametrize(
    ("init", "size", "signs"),
    [
        ("signed_constant", 0.272166, {-1.0, 1.0}),  # sqrt(2 / 27)
        ("unsigned_constant", 0.272166, {1.0}),
        ("xavier_constant", 0.108148, {-1.0, 1.0}),  # sqrt(2 / (27 + 144))
    ],
)
def test_constants_of_resnet20s_first_layer_are_as_published(init, size, signs):
    weight = resnet20(10, 3, 32, init=init, fan="fan_in").conv1.weight.detach()
    torch.testing.assert_close(weight.abs(), torch.full_like(weight, size), atol=1e-6, rtol=0)
    assert set(weight.sign().unique().tolist()) == signs


@pytest.mark.parametrize("fan", ["fan_in", "fan_out"])
@pytest.mark.parametrize(
    ("init", "draw"),
    [
        ("kaiming_normal", lambda weight, fan: nn.init.kaiming_normal_(weight, mode=fan, nonlinearity="relu")),
        ("kaiming_uniform", lambda weight, fan: nn.init.kaiming_uniform_(weight, mode=fan, nonlinearity="relu")),
        ("xavier_normal", lambda weight, fan: nn.init.xavier_normal_(weight)),
        ("orthogonal", lambda weight, fan: nn.init.orthogonal_(weight, math.sqrt(2))),
    ],
)
def test_named_draws_are_those_of_torch(init, draw, fan):
    ours = weight_of(init, conv(8, 16), fan=fan)
    torch.manual_seed(0)
    torch.testing.assert_close(ours, draw(torch.empty(16, 8, 3, 3), fan))


@pytest.mark.parametrize("init", ["kaiming_normal", "kaiming_uniform", "signed_constant"])
@pytest.mark.parametrize(("fan", "size"), [("fan_in", 128 * 9), ("fan_out", 256 * 9)])
def test_weights_have_mean_zero_and_the_spread_that_preserves_the_signal(init, fan, size):
    weight = weight_of(init, conv(), fan=fan)
    assert weight.std().item() == pytest.approx(math.sqrt(2 / size), rel=0.01)
    assert abs(weight.mean().item()) < 5 * math.sqrt(2 / size / weight.numel())


def test_gain_scales_the_draw():
    torch.testing.assert_close(
        weight_of("kaiming_normal", conv(), gain=3.0), 3 * weight_of("kaiming_normal", conv(), gain=1.0)
    )


def test_signs_are_drawn_anew_and_none_is_zero():
    layer = conv()
    first = seeded("signed_constant", layer, seed=0).weight.detach().sign()
    second = seeded("signed_constant", layer, seed=1).weight.detach().sign()
    assert first.all()
    assert (first == second).float().mean().item() == pytest.approx(0.5, abs=0.01)


def test_a_convolution_of_each_channel_by_itself_feeds_only_its_own_outputs():
    assert _fans(conv(32, 32, groups=32)) == (9, 9)
    assert _fans(conv(32, 64, groups=32)) == (9, 18)
    assert _fans(nn.Linear(300, 100)) == (300, 100)


@pytest.mark.parametrize("init", _DRAWS)
def test_linear_layers_are_scaled_by_their_inputs_whatever_the_fan(init):
    assert torch.equal(*(weight_of(init, nn.Linear(64, 10), fan=fan) for fan in ("fan_in", "fan_out")))


@pytest.mark.parametrize("init", _DRAWS)
def test_biases_become_zero(init):
    net = nn.Sequential(conv(3, 8), nn.Linear(8, 4))
    assert not any(layer.bias.any() for layer in seeded(init, net))


def test_torch_default_is_what_the_layers_draw_themselves():
    torch.manual_seed(3)
    fresh = nn.Sequential(conv(3, 8), nn.Linear(8, 4))
    trained = nn.Sequential(conv(3, 8), nn.Linear(8, 4))
    redrawn = seeded("torch_default", trained, seed=3)
    assert all(torch.equal(a, b) for a, b in zip(fresh.parameters(), redrawn.parameters(), strict=True))
    assert fresh[0].bias.any()


def test_torchvision_draws_convolutions_by_kaiming_and_linear_layers_small():
    net = seeded("torchvision", nn.Sequential(conv(16, 64), nn.Linear(500, 100)))
    assert float(net[0].weight.detach().std()) == pytest.approx(math.sqrt(2 / (16 * 9)), rel=0.05)
    assert float(net[1].weight.detach().std()) == pytest.approx(0.01, rel=0.05)
    assert not net[1].bias.any()


@pytest.mark.parametrize("init", INITS)
def test_batch_norm_is_never_touched(init):
    net = resnet20(10, 3, 32)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            for value in module.state_dict().values():
                value.fill_(7)
    initialise_(net, init)
    kept = [value for key, value in net.state_dict().items() if "bn" in key]
    assert kept
    assert all((value == 7).all() for value in kept)


@pytest.mark.parametrize("init", INITS)
def test_weights_are_redrawn_in_place_and_the_seed_decides_them(init):
    net = nn.Sequential(conv(3, 8), nn.Linear(8, 4))
    held = list(net.parameters())
    assert seeded(init, net, seed=5) is net
    assert all(a is b for a, b in zip(held, net.parameters(), strict=True))
    first = net[0].weight.detach().clone()
    assert torch.equal(first, seeded(init, net, seed=5)[0].weight)
    if init != "unsigned_constant":
        assert not torch.equal(first, seeded(init, net, seed=6)[0].weight)


@pytest.mark.parametrize("options", [{"init": "he"}, {"fan": "fan_avg"}])
def test_an_unknown_name_is_refused_before_any_weight_changes(options):
    layer = conv(3, 8)
    before = layer.weight.detach().clone()
    with pytest.raises(ValueError, match="is unknown; valid: "):
        initialise_(layer, **options)
    assert torch.equal(before, layer.weight)


@pytest.mark.slow
def test_residual_networks_start_from_kaiming_normal_over_outputs():
    net = resnet18(10, 3, 32)
    assert net.layer4[0].conv1.weight.std().item() == pytest.approx(math.sqrt(2 / (512 * 9)), rel=0.01)
    assert net.classifier.weight.std().item() == pytest.approx(math.sqrt(2 / 512), rel=0.05)
