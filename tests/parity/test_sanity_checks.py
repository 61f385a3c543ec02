"""Controls of tickets and the verdict on them.

Layerwise shuffles: arXiv 2009.11094 (random tickets) and 2009.08576; inverted scores: 2009.08576; re-initialisation:
arXiv 1803.03635; the five conditions and the correlation indicator R_p: arXiv 2107.00166, sections 3 and 4.
"""

import itertools
import math
import random as python_random
from fractions import Fraction

import pytest
import torch

from lth.analysis.similarity import correlation
from lth.networks import mlp
from lth.pruning import allocation
from lth.sanity._conditions import Rules
from lth.sanity.judge import SanityRun, judge
from lth.tickets.treatments import invert, permute_scores, random, reinit, shuffle_filters, shuffle_layers
from tests.parity.plain import CONV, MLP, draw, equal, half, keep_largest


def counts(masks):
    return {name: int(mask.sum()) for name, mask in masks.items()}


@pytest.mark.parametrize("seed", range(3))
def test_a_layerwise_shuffle_keeps_every_layers_count_and_all_weights(seed):
    masks, weights = half(CONV, seed, 0.3), draw(CONV, seed)
    shuffled, same = shuffle_layers(masks, weights, seed=seed)
    assert counts(shuffled) == counts(masks)
    assert not equal(shuffled, masks)
    assert equal(same, weights)


def test_a_layerwise_shuffle_draws_all_arrangements_alike():
    masks, draws, seen = {"layer": torch.tensor([[True, True, False], [False, False, False]])}, 600, {}
    for seed in range(draws):
        shuffled, _ = shuffle_layers(masks, {}, seed=seed)
        key = tuple(shuffled["layer"].flatten().nonzero().flatten().tolist())
        seen[key] = seen.get(key, 0) + 1
    assert set(seen) == set(itertools.combinations(range(6), 2))
    spread = math.sqrt(draws / 15 * 14 / 15)
    assert all(abs(count - draws / 15) < 5 * spread for count in seen.values())


@pytest.mark.parametrize("seed", range(3))
def test_a_shuffle_of_filters_keeps_the_count_of_each_output(seed):
    masks = half(CONV, seed, 0.3)
    shuffled, _ = shuffle_filters(masks, {}, seed=seed)
    for name, mask in masks.items():
        assert shuffled[name].flatten(1).sum(1).tolist() == mask.flatten(1).sum(1).tolist()


@pytest.mark.parametrize("values", [None, 4], ids=["distinct", "ties"])
@pytest.mark.parametrize("seed", range(3))
def test_inverted_scores_keep_the_smallest_of_each_layer(seed, values):
    masks, scores = half(CONV, seed, 0.3), draw(CONV, 10 + seed, values)
    inverted, _ = invert(masks, {}, scores=scores)
    for name, count in counts(masks).items():
        assert torch.equal(inverted[name], keep_largest({name: -scores[name]}, count)[name])


@pytest.mark.parametrize("seed", range(3))
def test_permuted_scores_keep_the_layer_densities_that_the_scores_give(seed):
    scores = {name: s.abs() for name, s in draw(CONV, 10 + seed).items()}
    total = sum(s.numel() for s in scores.values())
    masks = keep_largest(scores, total // 4)
    permuted, _ = permute_scores(masks, {}, scores=scores, seed=seed, allocation=allocation.global_)
    assert counts(permuted) == counts(masks)
    assert not equal(permuted, masks)


@pytest.mark.parametrize("seed", range(3))
def test_a_random_mask_has_the_density_of_the_ticket_and_none_of_its_layers(seed):
    masks = half(CONV, seed, 0.3)
    masks["head"] |= True
    drawn, _ = random(masks, {}, seed=seed)
    assert sum(counts(drawn).values()) == sum(counts(masks).values())
    assert counts(drawn) != counts(masks)


def test_a_reinitialised_ticket_has_its_masks_and_another_draw_of_its_distribution():
    def network(seed):
        torch.manual_seed(seed)
        return mlp([60, 50], classes=4, channels=1, image_size=8)

    ticket = network(0).state_dict()
    masks = {name: torch.rand(w.shape) < 0.3 for name, w in ticket.items() if name.endswith("weight")}
    same, new = reinit(masks, ticket, draw=network, seed=0)
    assert equal(same, masks)
    for name in masks:
        assert not (new[name] == ticket[name]).any()
        assert float(new[name].std()) == pytest.approx(math.sqrt(2 / ticket[name].shape[1]), rel=0.1)  # Kaiming
    _, signed = reinit(masks, ticket, draw=network, seed=0, keep_signs=True)
    assert all(torch.equal(signed[name], new[name].abs() * ticket[name].sign()) for name in masks)


def top(values, p, n, kept=None):
    """The round(p n) largest magnitudes of a layer."""
    order = sorted((-abs(v), i) for i, v in enumerate(values) if kept is None or kept[i])
    return {i for _, i in order[: max(1, round(p * n))]}


@pytest.mark.parametrize("p", [0.1, 0.5])
@pytest.mark.parametrize("seed", range(3))
def test_the_correlation_indicator_is_the_shared_share_of_the_largest_weights(seed, p):
    a = draw(MLP, seed)
    b = {name: w + draw(MLP, 10 + seed)[name] for name, w in a.items()}
    shared = 0
    for name, w in a.items():
        shared += len(top(w.flatten().tolist(), p, w.numel()) & top(b[name].flatten().tolist(), p, w.numel()))
    total = sum(w.numel() for w in a.values())
    assert correlation(a, b, p) == pytest.approx(shared / (p * total))
    assert correlation(a, a, p, normalise="exact") == 1


@pytest.mark.parametrize("seed", range(3))
def test_the_correlation_of_tickets_counts_kept_weights_alone(seed):
    a, b, masks = draw(MLP, seed), draw(MLP, 10 + seed), half(MLP, 20 + seed)
    shared = total = 0
    for name, mask in masks.items():
        kept, n = mask.flatten().tolist(), int(mask.sum())
        shared += len(top(a[name].flatten().tolist(), 0.2, n, kept) & top(b[name].flatten().tolist(), 0.2, n, kept))
        total += n
    assert correlation(a, b, 0.2, masks, masks) == pytest.approx(shared / (0.2 * total))


def verdict(table, tau, gap, small_gap):
    """Ma et al.'s conditions 2 to 5 from mean accuracies, in exact fractions."""
    pre, lt, rr, sd = (table[role] for role in ("dense", "lt_imp", "rr_imp", "sdt"))
    second = max(lt.values()) - max(sd.values()) > small_gap
    third = any(lt[lr] - max(rr.values()) > gap for lr in lt)
    fourth = any(lr in pre and lt[lr] >= pre[lr] - tau for lr in lt)
    fifth = any(lt[lr] >= max(pre.values()) - tau for lr in lt)
    if not (second and third and fourth):
        return "none"
    return "jackpot" if fifth else "secondary prize"


def runs_of(table, density):
    return [
        SanityRun(setting, lr, 0, float(accuracy), density)
        for setting, by_lr in table.items()
        for lr, accuracy in by_lr.items()
    ]


RANGES = {"dense": (8980, 9080), "lt_imp": (8980, 9060), "rr_imp": (8850, 9000), "sdt": (8850, 9000)}  # of 10,000


def test_the_verdict_is_that_of_the_conditions_for_200_tables():
    dice, found, half_a_point = python_random.Random(0), set(), Fraction(5, 1000)
    for _ in range(200):
        table = {role: {lr: Fraction(dice.randrange(*of), 10000) for lr in (0.01, 0.1)} for role, of in RANGES.items()}
        expected = verdict(table, half_a_point, half_a_point, half_a_point)
        assert judge(runs_of(table, 0.086), 0.086, Rules(min_seeds=1)).outcome == expected, table
        found.add(expected)
    assert found == {"jackpot", "secondary prize", "none"}


def test_a_ticket_that_keeps_more_than_two_fifths_is_trivial():
    table = {"dense": {0.1: 0.9}, "lt_imp": {0.1: 0.95}, "rr_imp": {0.1: 0.8}, "sdt": {0.1: 0.8}}
    assert judge(runs_of(table, 0.4), 0.4, Rules(min_seeds=1)).outcome == "jackpot"
    assert judge(runs_of(table, 0.7), 0.7, Rules(min_seeds=1)).outcome == "none"
