"""The correlation R_p of two networks: equal, independent, noisy and masked ones."""

import pytest
import torch

from lth.analysis.similarity import _shared_by_layer, correlation
from lth.networks import resnet20


def convs(seed):
    torch.manual_seed(seed)
    net = resnet20(classes=10, channels=3, image_size=32)
    return {n: p.detach() for n, p in net.named_parameters() if p.dim() == 4 and n != "conv1.weight"}


@pytest.mark.slow
def test_a_net_agrees_with_itself_and_with_its_multiples():
    a = convs(0)
    assert len(a) == 20
    for p in (0.1, 0.37, 1.0):
        assert correlation(a, a, p, normalise="exact") == 1
        assert correlation(a, {n: 7 * w for n, w in a.items()}, p, normalise="exact") == 1
    assert correlation(a, a, 0.2) == pytest.approx(1, abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(("p", "tolerance"), [(0.1, 0.006), (0.5, 0.003)])
def test_independent_draws_agree_by_chance(p, tolerance):
    a, b = convs(0), convs(1)
    assert correlation(a, b, p) == pytest.approx(p, abs=tolerance)
    assert correlation(a, b, p) == correlation(b, a, p)


@pytest.mark.parametrize(("noise", "expected"), [(0.1, (0.930, 0.949)), (1.0, (0.474, 0.627)), (3.0, (0.251, 0.520))])
def test_agreement_falls_with_noise_as_measured(noise, expected):
    a = convs(0)
    random = torch.Generator().manual_seed(2)
    b = {n: w + noise * w.std() * torch.randn(w.shape, generator=random) for n, w in a.items()}
    assert (correlation(a, b, 0.2), correlation(a, b, 0.5)) == pytest.approx(expected, abs=0.02)


def test_a_masked_net_is_compared_among_its_kept_weights():
    a = {"l": torch.tensor([9.0, 8.0, 1.0, 2.0, 3.0, 4.0])}
    b = {"l": torch.tensor([0.1, 0.2, 4.0, 3.0, 2.0, 1.0])}
    mask = {"l": torch.tensor([0, 0, 1, 1, 1, 1])}
    assert correlation(a, b, 0.5, mask, mask) == 0
    assert _shared_by_layer(a, b, 0.5, mask, mask) == {"l": (0, 2.0)}
    assert _shared_by_layer(a, a, 0.5, mask, mask) == {"l": (2, 2.0)}
    c = {"l": torch.tensor([0.1, 0.2, 1.0, 2.0, 3.0, 4.0])}  # as a, but for what is pruned
    assert correlation(a, c, 0.5, mask, mask) == 1


def test_a_sparse_net_against_a_dense_one_needs_p_below_its_density():
    a, b = {"l": torch.arange(1.0, 11)}, {"l": torch.arange(1.0, 11)}
    mask = {"l": torch.arange(10) >= 6}
    assert correlation(a, b, 0.4, mask) == 1
    with pytest.raises(ValueError, match=r"p=0.5 of l is 5 weights, but a mask keeps 4"):
        correlation(a, b, 0.5, mask)


def test_mistakes_are_named():
    a = {"l": torch.ones(2), "m": torch.ones(3)}
    with pytest.raises(ValueError, match=r"at \['m', 'k'\]"):
        correlation(a, {"l": torch.ones(2), "k": torch.ones(1)}, 0.1)
    with pytest.raises(ValueError, match="p=20 is not"):
        correlation(a, a, 20)
    with pytest.raises(ValueError, match="normalise='sum'"):
        correlation(a, a, 0.1, normalise="sum")
    none = {n: torch.zeros_like(w) for n, w in a.items()}
    with pytest.raises(ValueError, match="nothing to compare"):
        correlation(a, a, 0.1, none, none)
