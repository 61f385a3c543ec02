"""Pruning keeps the exact number of the best kept weights, inside the masks it was given."""

from functools import partial

import pytest
import torch
from torch import nn

from lth.pruning import Masks, allocation, criteria, prune
from lth.pruning.allocation import count_kept
from lth.pruning.criterion import Batches
from lth.pruning.ladder import geometric

ALLOCATIONS = [allocation.global_, allocation.uniform]


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 5), nn.Linear(5, 3))


def constant(**scores):
    """A criterion that returns what it was made with; the names' dots are underscores."""
    named = {name.replace("_", ".").lstrip("."): torch.as_tensor(score) for name, score in scores.items()}
    return lambda net, masks, batches: named


def pair():
    """Two layers of four weights each."""
    net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    return net, Masks.ones(net)


def flat(masks):
    return torch.cat([mask.flatten() for mask in masks.values()])


def test_global_magnitude_is_the_rank_of_all_weights_together():
    net = network()
    masks = prune(net, Masks.ones(net), 0.3, criteria.magnitude, allocation.global_)
    weights = torch.cat([w.detach().flatten() for w in masks.weights(net)]).abs().tolist()
    best = sorted(range(len(weights)), key=lambda i: -weights[i])[: round(0.3 * len(weights))]
    assert sorted(best) == flat(masks).nonzero().flatten().tolist()


def test_uniform_magnitude_is_the_rank_within_each_layer():
    net = network()
    masks = prune(net, Masks.ones(net), 0.5, criteria.magnitude, allocation.uniform)
    for weight, mask in zip(masks.weights(net), masks.values(), strict=True):
        best = weight.detach().abs().flatten().sort(descending=True).indices[: int(mask.sum())]
        assert sorted(best.tolist()) == mask.flatten().nonzero().flatten().tolist()
        assert abs(int(mask.sum()) - 0.5 * mask.numel()) < 1


@pytest.mark.slow
@pytest.mark.parametrize("allocate", ALLOCATIONS)
@pytest.mark.parametrize("rounds", [1, 3])
def test_masks_are_nested_and_counts_exact_all_the_way_down(allocate, rounds):
    net = network()
    masks = Masks.ones(net)
    for level, density in enumerate(geometric(levels=18)[1:]):
        with torch.no_grad():  # every level trains to other weights, small integers among them: ties everywhere
            for weight in masks.weights(net):
                weight.copy_(torch.randint(-2, 3, weight.shape, generator=torch.Generator().manual_seed(level)))
        before = masks.clone()
        masks = prune(net, before, density, criteria.magnitude, allocate, rounds=rounds)
        assert masks.kept == count_kept(density, masks.total)
        assert all((masks[name] <= before[name]).all() for name in masks)


@pytest.mark.parametrize("allocate", ALLOCATIONS)
def test_a_pruned_weight_with_the_highest_score_never_returns(allocate):
    net, masks = pair()
    masks.copy_({"0.weight": torch.tensor([[0, 1], [1, 1]]), "1.weight": torch.tensor([[1, 1], [1, 0]])})
    scores = constant(_0_weight=[[1e30, 1.0], [2.0, 3.0]], _1_weight=[[5.0, 6.0], [7.0, 1e30]])
    new = prune(net, masks, 0.25, scores, allocate)
    assert new["0.weight"][0, 0] == new["1.weight"][1, 1] == 0
    assert new.kept == 2


@pytest.mark.parametrize("allocate", ALLOCATIONS)
def test_a_kept_weight_of_score_zero_ranks_above_a_pruned_one(allocate):
    net, masks = pair()
    masks.copy_({"0.weight": torch.tensor([[0, 0], [1, 1]]), "1.weight": torch.tensor([[1, 1], [1, 1]])})
    new = prune(net, masks, 0.5, constant(_0_weight=[[0.0] * 2] * 2, _1_weight=[[0.0] * 2] * 2), allocate)
    assert new.kept == 4
    assert all((new[name] <= masks[name]).all() for name in new)


def test_kept_weights_with_negative_scores_rank_above_pruned_ones():
    net, masks = pair()
    masks.copy_({"0.weight": torch.tensor([[0, 0], [0, 1]]), "1.weight": torch.tensor([[1, 1], [1, 1]])})
    new = prune(
        net,
        masks,
        0.5,
        constant(_0_weight=[[9.0, 9.0], [9.0, -1.0]], _1_weight=[[-2.0, -3.0], [-4.0, -5.0]]),
        allocation.global_,
    )
    assert flat(new).tolist() == [0, 0, 0, 1, 1, 1, 1, 0]


def test_a_layer_may_be_emptied():
    net, masks = pair()
    new = prune(
        net, masks, 0.5, constant(_0_weight=[[-1.0, 0.0], [0.5, -0.0]], _1_weight=[[5.0] * 2] * 2), allocation.global_
    )
    assert new.kept_by_layer() == {"0.weight": 0, "1.weight": 4}


@pytest.mark.parametrize("score", [0.0, -0.0, 1.0, -1.0])
def test_equal_scores_prune_from_the_end(score):
    net, masks = pair()
    everywhere = constant(_0_weight=[[score] * 2] * 2, _1_weight=[[score] * 2] * 2)
    assert flat(prune(net, masks, 0.75, everywhere, allocation.global_)).tolist() == [1] * 6 + [0] * 2


@pytest.mark.parametrize("allocate", ALLOCATIONS)
def test_nothing_to_prune_scores_nothing(allocate):
    def never(*_):
        raise AssertionError("scored for nothing")

    net = network()
    masks = Masks.ones(net)
    same = prune(net, masks, 1.0, never, allocate)
    assert same.kept == masks.total
    half = prune(net, masks, 0.5, criteria.magnitude, allocate)
    again = prune(net, half, 0.5, never, allocate)
    assert again.digest() == half.digest()
    assert same["0.weight"] is not masks["0.weight"]  # a no-op, too, gives masks of its own


def test_growth_is_refused():
    net = network()
    half = prune(net, Masks.ones(net), 0.5, criteria.magnitude, allocation.global_)
    with pytest.raises(
        ValueError, match=rf"density 0\.6 asks for .* but masks keep only {half.kept}: nothing grows here"
    ):
        prune(net, half, 0.6, criteria.magnitude, allocation.global_)


@pytest.mark.parametrize("density", [0, -0.5, 20, float("nan")])
def test_what_is_no_density_is_refused(density):
    net, masks = pair()
    with pytest.raises(ValueError, match="must be a fraction of weights kept"):
        prune(net, masks, density, criteria.magnitude, allocation.global_)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({"0.weight": 2, "1.weight": 1}, "the allocation kept 3 weights at density 0.5, not 4"),
        ({"0.weight": 3, "1.weight": 2}, "the allocation kept 5 weights at density 0.5, not 4"),
        ({"0.weight": 5, "1.weight": -1}, "cannot keep 5 weights"),
    ],
)
def test_an_allocation_that_misses_the_count_is_an_error(counts, message):
    net, masks = pair()
    with pytest.raises(ValueError, match=message):
        prune(net, masks, 0.5, criteria.magnitude, lambda scores, density: counts)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ({"0.weight": torch.ones(2, 2)}, r"missing \['1.weight'\]"),
        ({"0.weight": torch.ones(2, 2), "1.weight": torch.ones(2, 1)}, r"1.weight: mask \(2, 2\), .*scores \(2, 1\)"),
    ],
)
@pytest.mark.parametrize("kept", [8, 7])
def test_scores_that_lack_a_layer_or_have_another_shape_are_refused(scores, message, kept):
    """On whole layers and on pruned ones, over which they could be broadcast."""
    net, masks = pair()
    if kept == 7:
        masks["1.weight"][1, 1] = 0
    with pytest.raises(ValueError, match=message):
        prune(net, masks, 0.5, lambda *_: scores, allocation.global_)


def test_scores_at_pruned_positions_may_be_anything():
    net, masks = pair()
    masks["0.weight"][0] = 0
    scores = constant(_0_weight=[[torch.nan, torch.inf], [1.0, 2.0]], _1_weight=[[3.0, 4.0], [5.0, 6.0]])
    assert flat(prune(net, masks, 0.5, scores, allocation.global_)).tolist() == [0] * 4 + [1] * 4


def test_rounds_score_again_under_shrinking_masks_on_an_exponential_path():
    net = network()
    start = prune(net, Masks.ones(net), 0.8, criteria.magnitude, allocation.global_)
    seen = []

    def watching(net, masks, batches):
        seen.append(masks.kept)
        return criteria.magnitude(net, masks)

    new = prune(net, start, 0.05, watching, allocation.global_, rounds=5)
    present = start.kept / start.total
    path = [start.kept] + [count_kept(present * (0.05 / present) ** (i / 5), start.total) for i in range(1, 5)]
    assert seen == path
    assert new.kept == count_kept(0.05, start.total)


@pytest.mark.slow
def test_more_rounds_than_weights_to_prune_are_no_harm():
    net = network()
    masks = prune(net, Masks.ones(net), 0.9, criteria.magnitude, allocation.uniform, rounds=100)
    assert masks.kept == count_kept(0.9, masks.total)


@pytest.mark.parametrize("rounds", [0, -1])
def test_no_rounds_at_all_are_refused(rounds):
    net, masks = pair()
    with pytest.raises(ValueError, match=f"rounds {rounds} must be 1 or more"):
        prune(net, masks, 0.5, criteria.magnitude, allocation.global_, rounds=rounds)


def test_network_and_given_masks_are_left_alone():
    net = network()
    masks = Masks.ones(net)
    weights = {name: value.clone() for name, value in net.state_dict().items()}
    prune(net, masks, 0.3, criteria.magnitude, allocation.global_)
    assert masks.kept == masks.total
    assert all(torch.equal(value, weights[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_masks_keep_their_networks_dtype(dtype):
    net = network().to(dtype)
    masks = prune(net, Masks.ones(net), 0.3, criteria.magnitude, allocation.global_)
    assert {mask.dtype for mask in masks.values()} == {dtype}
    assert masks.kept == count_kept(0.3, masks.total)


def test_a_criterion_is_given_the_batches():
    net, masks = pair()
    given = []

    def scores(net, masks, batches):
        given.append(batches)
        return criteria.magnitude(net, masks)

    class Given(Batches):
        classes, image_shape = 2, (1, 2, 2)

    batches = Given()
    prune(net, masks, 0.5, scores, allocation.global_, batches)
    assert given == [batches]


def test_scores_given_twice_are_not_written_to():
    """`prune` changes a copy of the scores between rounds, not the criterion's own tensors."""
    net = network()
    scores = {name: torch.rand(mask.shape) for name, mask in Masks.ones(net).items()}
    before = {name: score.clone() for name, score in scores.items()}
    prune(net, Masks.ones(net), 0.2, lambda *_: scores, allocation.global_, rounds=4)
    assert all(torch.equal(scores[name], score) for name, score in before.items())


def test_an_accepted_shortfall_is_warned_of(caplog):
    net, clipped = network(), partial(allocation.balanced, as_published="clip")
    with caplog.at_level("WARNING"):
        prune(net, Masks.ones(net), 0.5, criteria.magnitude, clipped, exact=False, rounds=3)
    assert caplog.text.count("weights at density 0.5, not") == 1
