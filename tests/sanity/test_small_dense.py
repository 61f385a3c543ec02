"""The small dense network has the ticket's number of parameters to within 1 %."""

import pytest
import torch

from lth import networks
from lth.networks import mlp, resnet20
from lth.pruning import Masks
from lth.sanity.small_dense import _solve_widths


def parameters(net):
    return sum(p.numel() for p in net.parameters())


def resnet50(widths):
    return networks.resnet50(1000, 3, 224, widths=widths)


@pytest.mark.slow
@pytest.mark.parametrize("target", [4_127_841, 6_050_373, 8_254_250, 11_724_185])
def test_resnet50_matches_the_papers_counts(target):
    widths = _solve_widths(resnet50, (64, 128, 256, 512), target)
    with torch.device("meta"):
        assert parameters(resnet50(widths)) == pytest.approx(target, rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("density", [0.5, 0.086, 0.044, 0.01])
def test_resnet20_and_mlp_match_a_tickets_nonzeros(density):
    for build, widths in (
        (lambda w: resnet20(10, 3, 32, widths=w), [16, 32, 64]),
        (lambda w: mlp(w, 10, 1, 8), [300, 100]),
    ):
        net = build(widths)
        masks = Masks.ones(net)
        for mask in masks.values():
            mask.view(-1)[round(density * mask.numel()) :] = 0
        target = parameters(net) - masks.total + masks.kept
        assert parameters(build(_solve_widths(build, widths, target))) == pytest.approx(target, rel=0.01)


def test_widths_grow_where_the_target_is_larger():
    assert min(_solve_widths(lambda w: mlp(w, 10, 1, 8), [10, 10], 50_000)) > 10


@pytest.mark.slow
def test_where_a_unit_costs_more_than_the_tolerance_another_layer_makes_up_for_it():
    """A first-layer unit with 784 inputs is 6 % of this network: proportional widths miss the target by 2 %."""
    widths = _solve_widths(lambda w: mlp(w, 10, 1, 28), [300, 100], 13_074)
    assert parameters(mlp(widths, 10, 1, 28)) == pytest.approx(13_074, rel=0.01)


@pytest.mark.slow
def test_what_cannot_be_met_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match=r"no widths like \[300, 100\] make a dense net of 50 parameters.*has 87"):
        _solve_widths(lambda w: mlp(w, 10, 1, 8), [300, 100], 50)
