"""Every treatment changes one thing and nothing else, and leaves its arguments unchanged."""

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import nn

from lth.pruning.allocation import global_, uniform
from lth.pruning.initial_weights.distributions import normal
from lth.pruning.masks import fingerprint
from lth.tickets import treatments
from tests.support.harness import CONF, names


def build(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(32, 10), nn.Linear(10, 4))


def given(density=0.3):
    weights = build(0).state_dict()
    weights["1.running_mean"] += 1
    random = torch.Generator().manual_seed(1)
    scores = {
        n: torch.rand(w.shape, generator=random) for n, w in weights.items() if n.endswith("weight") and w.dim() > 1
    }
    masks = {n: s > 1 - density * (1 + i / 3) for i, (n, s) in enumerate(scores.items())}
    return masks, weights, scores


def counts(masks):
    return {name: int(mask.sum()) for name, mask in masks.items()}


TREATMENTS = names("treatment")


def treat(name, masks, weights, scores, seed=0):
    return instantiate(OmegaConf.load(CONF / "treatment" / f"{name}.yaml"))(masks, weights, build, seed, scores)


def test_there_are_seven_treatments():
    assert set(TREATMENTS) == {
        "none", "reinit", "shuffle_layers", "shuffle_filters", "random", "invert", "permute_scores"
    }  # fmt: skip


@pytest.mark.parametrize("name", TREATMENTS)
def test_a_treatment_is_pure_and_follows_its_seed(name):
    masks, weights, scores = given()
    torch.manual_seed(5)

    def state():
        return fingerprint(masks), fingerprint(weights), fingerprint(scores), torch.random.get_rng_state().tolist()

    before = state()
    first, again, other = (treat(name, masks, weights, scores, seed) for seed in (3, 3, 4))
    assert (
        fingerprint(masks),
        fingerprint(weights),
        fingerprint(scores),
        torch.random.get_rng_state().tolist(),
    ) == before
    assert [fingerprint(part) for part in first] == [fingerprint(part) for part in again]
    drawn = name not in ("none", "invert")
    assert ([fingerprint(part) for part in first] != [fingerprint(part) for part in other]) == drawn


@pytest.mark.parametrize("name", TREATMENTS)
def test_the_number_of_kept_weights_never_changes(name):
    masks, weights, scores = given()
    new, _ = treat(name, masks, weights, scores)
    assert sum(counts(new).values()) == sum(counts(masks).values())
    assert list(new) == list(masks)
    assert {mask.dtype for mask in new.values()} == {torch.bool}
    assert {n: m.shape for n, m in new.items()} == {n: m.shape for n, m in masks.items()}


@pytest.mark.parametrize("name", ["shuffle_layers", "shuffle_filters", "invert", "permute_scores"])
def test_layers_keep_their_counts_and_weights_but_not_their_positions(name):
    masks, weights, scores = given()
    new, same = treat(name, masks, weights, scores)
    assert counts(new) == counts(masks)
    assert fingerprint(same) == fingerprint(weights)
    assert all(not torch.equal(new[layer], masks[layer]) for layer in masks)


def test_a_shuffle_within_filters_keeps_every_filters_count_and_one_within_layers_does_not():
    masks, weights, scores = given()
    within, across = (treat(name, masks, weights, scores)[0] for name in ("shuffle_filters", "shuffle_layers"))
    before = masks["0.weight"].flatten(1).sum(1)
    assert torch.equal(within["0.weight"].flatten(1).sum(1), before)
    assert not torch.equal(across["0.weight"].flatten(1).sum(1), before)


def test_every_position_is_as_likely_as_any_other_after_a_shuffle():
    mask = {"a": torch.tensor([[1, 1, 0, 0, 0, 0]])}
    hits = sum(treatments.shuffle_layers(mask, {}, seed=seed)[0]["a"].double() for seed in range(900))
    assert hits.flatten().tolist() == pytest.approx([300] * 6, abs=5 * (900 / 3 * 2 / 3) ** 0.5)


def test_a_random_mask_is_uniform_over_the_network_or_shared_out_as_asked():
    masks, weights, _ = given()
    everywhere, _ = treatments.random(masks, weights)
    assert counts(everywhere) != counts(masks)
    even, _ = treatments.random(masks, weights, allocation=uniform)
    density = sum(counts(masks).values()) / sum(m.numel() for m in masks.values())
    assert all(abs(int(even[n].sum()) - density * m.numel()) <= 1 for n, m in masks.items())


def test_inverting_keeps_the_smallest_scores():
    masks, weights, scores = given()
    new, _ = treatments.invert(masks, weights, scores=scores)
    for name in masks:
        assert scores[name][new[name]].max() < scores[name][~new[name]].min()


def test_permuted_scores_take_their_allocation_with_them():
    masks = {"a": torch.tensor([True, True, True, False]), "b": torch.tensor([True, False, False, False])}
    scores = {"a": torch.tensor([8.0, 7, 6, 5]), "b": torch.tensor([4.0, 3, 2, 1])}
    assert counts(treatments.permute_scores(masks, {}, scores=scores, allocation=global_)[0]) == {"a": 4, "b": 0}


def test_reinit_draws_the_whole_state_anew_from_the_same_initialiser():
    masks, weights, scores = given()
    same, new = treat("reinit", masks, weights, scores)
    assert fingerprint(same) == fingerprint(masks)
    assert list(new) == list(weights)
    assert all(not torch.equal(new[name], weights[name]) for name in masks)
    assert new["1.running_mean"].abs().max() == 0
    bound = 1 / 32**0.5  # of torch's own initialisation of a linear layer with 32 inputs
    assert 0.9 * bound < new["3.weight"].abs().max() <= bound


@pytest.mark.parametrize("seed", range(5))
def test_reinit_never_draws_the_tickets_own_weights(seed):
    masks, *_ = given()
    _, new = treatments.reinit(masks, build(seed).state_dict(), build, seed)
    assert not torch.equal(new["3.weight"], build(seed).state_dict()["3.weight"])


def test_reinit_takes_another_distribution_and_may_keep_signs():
    masks, weights, _ = given()
    _, other = treatments.reinit(masks, weights, build, 0, rule=normal)
    density = float(masks["3.weight"].sum()) / masks["3.weight"].numel()
    assert float(other["3.weight"][masks["3.weight"]].std()) == pytest.approx((2 / 32 / density) ** 0.5, rel=0.25)
    _, signed = treatments.reinit(masks, weights, build, 0, keep_signs=True)
    assert torch.equal(signed["3.weight"].sign(), weights["3.weight"].sign())
    assert not torch.equal(signed["3.weight"].abs(), weights["3.weight"].abs())


def test_what_a_treatment_lacks_is_named():
    masks, weights, scores = given()
    with pytest.raises(ValueError, match=r"treatment=reinit .* needs the network"):
        treatments.reinit(masks, weights)
    with pytest.raises(ValueError, match="treatment=invert needs the scores"):
        treatments.invert(masks, weights)
    with pytest.raises(ValueError, match=r"permute_scores: the scores do not fit the ticket at \['3.weight'\]"):
        treatments.permute_scores(masks, weights, scores={**scores, "3.weight": torch.ones(2)})
    with pytest.raises(ValueError, match=r"differ at .*'2.weight'"):
        treatments.reinit(masks, weights, lambda seed: nn.Sequential(nn.Flatten(), nn.Identity(), nn.Linear(3, 2)))
    zeros = {n: torch.zeros_like(w) for n, w in weights.items()}
    with pytest.raises(ValueError, match="the new weights equal the ticket's"):
        treatments.reinit(masks, zeros, lambda seed: _filled(0))


def _filled(value):
    net = build(0)
    for parameter in net.parameters():
        nn.init.constant_(parameter, value)
    return net
