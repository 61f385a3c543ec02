"""From scores to masks: counts, ties, and segments against a slow reference."""

import math

import pytest
import torch

from lth.pruning.search._segments import _largest_on_device, largest_of_segments
from lth.pruning.search._selection import Selection, _by_group
from lth.pruning.search.mask_rules import Largest, Relaxed, Rounded, Sampled
from lth.pruning.search.rounding import Rounding
from lth.pruning.search.state import _layers_of
from lth.pruning.seeds import generator

SIZES = (432, 2304, 640, 7)


def scores(*sizes: int) -> list[torch.Tensor]:
    return [torch.randn(size, generator=generator("scores", i)) for i, size in enumerate(sizes)]


def ones(like: list[torch.Tensor]) -> list[torch.Tensor]:
    return [torch.ones_like(tensor) for tensor in like]


def slowly(values: torch.Tensor, sizes: list[int], counts: list[int]) -> torch.Tensor:
    """Sort every segment by value, then index, and mark the first ones."""
    marked, start = torch.zeros(len(values), dtype=torch.bool), 0
    for size, count in zip(sizes, counts, strict=True):
        order = sorted(range(start, start + size), key=lambda i: (-float(values[i]), i))
        marked[order[:count]] = True
        start += size
    return marked


@pytest.mark.parametrize("seed", range(20))
def test_the_largest_of_segments_are_those_of_a_sort_ties_to_the_lower_index(seed: int):
    random = generator("segments", seed)
    sizes = torch.randint(1, 40, (6,), generator=random).tolist()
    values = torch.randint(0, 5, (sum(sizes),), generator=random).float()  # five values: mostly ties
    counts = [int(torch.randint(0, size + 1, (1,), generator=random)) for size in sizes]
    assert torch.equal(largest_of_segments(values, sizes, counts), slowly(values, sizes, counts))
    assert torch.equal(_largest_on_device(values, sizes, counts, exact=True), slowly(values, sizes, counts))
    as_published = _largest_on_device(values, sizes, counts, exact=False)
    assert torch.equal(largest_of_segments(values, sizes, counts, exact=False), as_published)


def test_as_published_every_tie_at_the_threshold_is_lost():
    kept = largest_of_segments(torch.tensor([1.0, 2, 2, 3, 5, 5]), [4, 2], [2, 1], exact=False)
    assert kept.tolist() == [False, False, False, True, False, False]
    exact = largest_of_segments(torch.tensor([1.0, 2, 2, 3, 5, 5]), [4, 2], [2, 1])
    assert exact.tolist() == [False, True, False, True, True, False]


@pytest.mark.parametrize("density", [0.5, 0.3, 0.1, 0.0144, 0.001, 1.0])
def test_edge_popup_keeps_the_published_count_of_every_layer(density: float):
    given = scores(*SIZES)
    kept = [int(mask.sum()) for mask in Largest()(given, ones(given), density)]
    assert kept == [size - int((1 - density) * size) for size in SIZES]
    floored = [int(mask.sum()) for mask in Largest(rounding="floor")(given, ones(given), density)]
    assert floored == [math.floor(density * size + 1e-9) for size in SIZES]


@pytest.mark.parametrize("density", [0.5, 0.018, 0.0059])
def test_global_edge_popup_keeps_the_published_count_of_the_network(density: float):
    given = scores(*SIZES)
    masks = Largest(scope="global")(given, ones(given), density)
    total = sum(SIZES)
    assert sum(int(mask.sum()) for mask in masks) == total - int((1 - density) * total)
    smallest_kept = min(float(s.abs()[m.bool()].min()) for s, m in zip(given, masks, strict=True) if m.any())
    assert all(float(s.abs()[~m.bool()].max()) <= smallest_kept for s, m in zip(given, masks, strict=True))


def test_the_density_is_what_is_kept_and_no_rate_of_removal():
    given = scores(10_000)
    (mask,) = Largest()(given, ones(given), 0.0144)
    assert mask.sum() == 144  # 0.864, the rate of one event on the way there, would keep 8,640


def test_signs_do_not_matter_and_nothing_outside_the_flags_is_used():
    given = [torch.tensor([-3.0, 2.0, -1.0, 0.0])]
    (mask,) = Largest()(given, ones(given), 0.5)
    assert mask.tolist() == [1, 1, 0, 0]
    (mask,) = Largest()(given, [torch.tensor([0.0, 1, 1, 1])], 0.5)
    assert mask.tolist() == [0, 1, 1, 0]
    (mask,) = Largest()([torch.zeros(4)], [torch.tensor([0.0, 1, 0, 1])], 0.5)  # ties, even with what is outside
    assert mask.tolist() == [0, 1, 0, 1]


def test_half_rounds_to_zero_and_masks_are_binary():
    (mask,) = Rounded()([torch.tensor([0.0, 0.49, 0.5, 0.5000001, 1.0])], [torch.ones(5)], 1.0)
    assert mask.tolist() == [0, 0, 0, 1, 1]


def test_relaxed_masks_are_the_scores_and_sampled_ones_follow_them():
    given = [torch.tensor([0.0, 0.25, 1.0]).repeat(2000)]
    assert torch.equal(Relaxed()(given, ones(given), 1.0)[0], given[0])
    torch.manual_seed(0)
    (mask,) = Sampled()(given, ones(given), 1.0)
    shares = mask.view(2000, 3).mean(0)
    assert set(mask.tolist()) == {0.0, 1.0}
    assert shares[0] == 0
    assert shares[1] == pytest.approx(0.25, abs=0.04)
    assert shares[2] == 1


def test_rounding_at_the_end_is_strict_or_drawn_or_leaves_everything():
    score = torch.tensor([0.0, 0.3, 0.5, 1.0]).repeat(3000)
    names = "naive", "prob", "all_ones"
    kept = {name: Rounding(name)(score, generator("r")).view(-1, 4).float().mean(0) for name in names}
    assert kept["naive"].tolist() == [0, 0, 0, 1]
    assert kept["all_ones"].tolist() == [1, 1, 1, 1]
    assert kept["prob"][1] == pytest.approx(0.3, abs=0.03)
    assert kept["prob"][[0, 3]].tolist() == [0, 1]


def test_noise_before_rounding_moves_scores_over_the_half_and_is_drawn_from_the_stream():
    score = torch.tensor([0.3, 0.5, 0.7, 1.0]).repeat(20_000)

    def kept(noise: float) -> list[float]:
        return Rounding("naive", noise)(score, generator("r")).view(-1, 4).float().mean(0).tolist()

    normal = torch.distributions.Normal(0.0, 0.2)
    assert kept(0.2) == pytest.approx(
        [float(normal.cdf(torch.tensor(x - 0.5))) for x in (0.3, 0.5, 0.7, 1.0)], abs=0.01
    )
    assert kept(0.2) == kept(0.2)
    assert kept(0.0) == [0, 0, 1, 1]
    with pytest.raises(ValueError, match="must be 0 or more"):
        Rounding("naive", -0.1)


def test_a_weight_and_its_bias_are_one_layer():
    groups = _layers_of(["a.weight", "b.weight", "c.weight"], ["a.bias", "c.bias"])
    assert groups == [[0, 3], [1], [2, 4]]
    given = [
        torch.tensor([[5.0, 1.0], [1.0, 1.0]]),
        torch.ones(2),
        torch.zeros(2, 1),
        torch.tensor([9.0, 0.0]),
        -torch.ones(1),
    ]
    masks = _by_group(Largest(rounding="floor"), groups)(given, ones(given), 0.4)
    assert masks[0].tolist() == [[1, 0], [0, 0]]  # floor(0.4 * 6) = 2 for the layer: one weight, one bias
    assert masks[3].tolist() == [1, 0]
    assert masks[1].sum() == 0  # floor(0.4 * 2)
    assert (masks[2].flatten().tolist(), masks[4].tolist()) == ([0, 0], [1])


def test_a_selection_follows_scores_and_flags_and_fills_the_same_masks():
    given, flags = [torch.randn(4, 3, 2), torch.randn(5)], [torch.ones(4, 3, 2), torch.ones(5)]
    for groups in (None, [[0, 1]]):
        selection = Selection(given, flags, groups)
        rule = _by_group(Largest(), groups) if groups else Largest()
        filled = selection(Largest(), 0.5)
        for _ in range(3):
            given[0].normal_()  # as an optimizer step does: in place
            flags[0][0] = 0
            again = selection(Largest(), 0.5)
            assert all(a is b for a, b in zip(again, filled, strict=True))
            assert all(torch.equal(a, b.float()) for a, b in zip(again, rule(given, flags, 0.5), strict=True))
            assert [mask.shape for mask in again] == [score.shape for score in given]
        flags[0][0] = 1


def test_a_layer_cannot_be_asked_for_more_than_its_support_and_its_biases_hold():
    rule = Largest(rounding="floor")
    rule.check([1168], [592], 0.2)
    with pytest.raises(ValueError, match="700 of 592"):
        rule.check([1168], [592], 0.6)


@pytest.mark.parametrize("wrong", [{"scope": "block"}, {"rounding": "nearest"}, {"ties": "random"}])
def test_unknown_names_are_refused(wrong: dict):
    with pytest.raises(ValueError, match="is not one of"):
        Largest(**wrong)
