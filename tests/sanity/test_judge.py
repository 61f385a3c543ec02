"""The verdict on tables of accuracies: every outcome, and the condition that failed with its numbers."""

import itertools

import pytest

from lth.sanity._conditions import Rules
from lth.sanity.judge import SanityRun, describe, judge, tau_of

POINT = 0.01


def table(density=0.086, seeds=3, spread=0.0, **settings):
    """Runs of settings given as {lr: mean in percent}; seeds lie symmetrically around the mean."""
    offsets = [spread * (i - (seeds - 1) / 2) for i in range(seeds)]
    return [
        SanityRun(setting, lr, seed, (mean + offsets[seed]) * POINT, 1.0 if setting == "dense" else density, 160)
        for setting, cells in settings.items()
        for lr, mean in cells.items()
        for seed in range(seeds)
    ]


A = {
    "dense": {0.01: 90.3, 0.1: 92.4},
    "lt_imp": {0.005: 89.7, 0.01: 89.4, 0.1: 87.3},
    "rr_imp": {0.1: 87.0},
    "sdt": {0.1: 86},
}
B = {"dense": {0.01: 90.3, 0.1: 92.4}, "lt_imp": {0.1: 92.2}, "rr_imp": {0.1: 91.0}, "sdt": {0.1: 90}}
C = {**B, "lt_imp": {0.1: 92.3}, "rr_imp": {0.1: 92.0}}


def test_no_ticket_when_both_comparisons_with_dense_fail_by_more_than_tau():
    found = judge(table(**A), 0.086, Rules())
    assert (found.outcome, found.failed) == ("none", (4, 5))
    fourth = found.conditions[3]
    assert (fourth.lr, round(fourth.value, 6), fourth.threshold) == (0.01, -0.009, -0.005)
    assert "89.40 % at lr 0.01 is -0.90 points against 90.30 %" in found.reason
    assert "5 (similar to the best dense net) fails" in found.reason


def test_a_wider_tau_makes_it_a_secondary_prize():
    found = judge(table(**A), 0.086, Rules(tau=0.01))
    assert (found.outcome, found.failed) == ("secondary prize", (5,))


def test_the_jackpot():
    found = judge(table(**B), 0.086, Rules())
    assert (found.outcome, found.failed) == ("jackpot", ())
    assert [c.status for c in found.conditions] == ["holds"] * 5


def test_no_ticket_when_random_weights_do_as_well():
    found = judge(table(**C), 0.086, Rules())
    assert (found.outcome, found.failed) == ("none", (3,))
    assert found.conditions[2].margin == pytest.approx(-0.002)


@pytest.mark.parametrize(("dataset", "drop", "holds"), [
    ("cifar10", 0.5, True), ("cifar10", 0.51, False), ("cifar100", 0.9, True), ("tiny_imagenet", 1.01, False),
    ("imagenet", 1.4, True), ("imagenet", 1.6, False),
])  # fmt: skip
def test_similar_means_what_the_paper_says_on_each_dataset(dataset, drop, holds):
    runs = table(dense={0.1: 75}, lt_imp={0.1: 75 - drop}, rr_imp={0.1: 70}, sdt={0.1: 70})
    found = judge(runs, 0.086, Rules(tau=tau_of(dataset)))
    assert (found.outcome == "jackpot") == holds


def test_a_trivial_density_is_no_ticket_whatever_the_numbers():
    found = judge(table(density=0.7, **B), 0.7, Rules())
    assert (found.outcome, found.failed) == ("none", (1,))
    assert "density 0.7 exceeds 0.4" in found.reason


def test_too_short_or_longer_than_dense_is_no_ticket():
    assert judge(table(**B), 0.086, Rules(min_epochs=161)).failed == (1,)
    runs = [SanityRun(**{**vars(r), "epochs": 180 if r.setting == "lt_imp" else 110}) for r in table(**B)]
    assert "the ticket trained 180 epochs, the dense net 110" in judge(runs, 0.086, Rules()).reason


def test_a_small_dense_net_as_good_as_the_ticket_is_named():
    found = judge(table(**{**B, "sdt": {0.1: 91.8}}), 0.086, Rules())
    assert (found.outcome, found.failed) == ("none", (2,))


def test_too_few_seeds_is_a_verdict():
    found = judge(table(seeds=2, **B), 0.086, Rules())
    assert found.outcome == "not enough seeds"
    assert "ticket at lr 0.1 has 2 of 3 seeds" in found.reason
    assert judge(table(seeds=2, **B), 0.086, Rules(min_seeds=2)).outcome == "jackpot"


@pytest.mark.parametrize("part", ["dense", "rr_imp", "sdt"])
def test_what_is_missing_is_unknown_and_never_passed(part):
    found = judge(table(**{k: v for k, v in B.items() if k != part}), 0.086, Rules())
    assert found.outcome == "unknown"
    assert "no such run" in found.reason
    assert judge(table(**{k: v for k, v in C.items() if k != "sdt"}), 0.086, Rules()).outcome == "none"


def test_strict_rules_want_intervals_not_means():
    unpaired = [SanityRun(**{**vars(r), "seed": r.seed + 10 * (r.setting != "lt_imp")}) for r in table(spread=0.6, **B)]
    assert judge(unpaired, 0.086, Rules()).outcome == "jackpot"
    found = judge(unpaired, 0.086, Rules(strict=True))
    assert found.outcome == "not enough seeds"
    assert "is undecided" in found.reason


def test_pairing_by_seed_removes_what_seeds_have_in_common():
    assert judge(table(spread=2.0, **B), 0.086, Rules(strict=True)).outcome == "jackpot"


def test_one_rate_for_all_conditions_when_asked():
    cells = {"dense": {0.01: 92.4, 0.1: 92.4}, "rr_imp": {0.1: 91}, "sdt": {0.1: 80}, "lt_imp": {0.01: 91, 0.1: 92.2}}
    assert judge(table(**cells), 0.086, Rules(same_lr=True)).outcome == "jackpot"
    cells |= {"dense": {0.01: 90, 0.1: 93}, "lt_imp": {0.01: 89.8, 0.1: 92.2}}
    assert judge(table(**cells), 0.086, Rules()).outcome == "secondary prize"
    assert judge(table(**cells), 0.086, Rules(same_lr=True)).outcome == "none"


def test_the_control_may_be_read_at_the_tickets_own_rate():
    cells = {**B, "lt_imp": {0.1: 92.2}, "rr_imp": {0.01: 92.1, 0.1: 90}}
    assert judge(table(**cells), 0.086, Rules()).failed == (3,)
    assert judge(table(**cells), 0.086, Rules(rr_rule="same_lr")).outcome == "jackpot"


def test_gaps_come_with_their_interval_over_seeds():
    found = judge(table(shuffled={0.1: 91.5}, spread=0.5, **B), 0.086, Rules(), controls=("shuffled",))
    assert set(found.gaps) == {"rr_imp", "sdt", "shuffled"}
    gap = found.gaps["shuffled"]
    assert (round(gap.mean, 6), gap.n) == (0.007, 3)
    assert gap.low == pytest.approx(gap.high) == pytest.approx(0.007)  # perfectly paired


def test_the_verdict_in_words_names_everything():
    text = "\n".join(describe(judge(table(**A), 0.086, Rules(), correlation={"R_0.1": 0.719})))
    for part in (
        "density 0.086: none",
        "4 (similar to the dense net",
        "ticket minus rr_imp: +2.70 points",
        "R_0.1 = 0.719",
    ):
        assert part in text


def test_only_the_tickets_own_density_is_judged():
    runs = [*table(**B), *table(density=0.05, lt_imp={0.1: 10.0}, rr_imp={0.1: 9.0})]
    assert judge(runs, 0.086, Rules()).outcome == "jackpot"
    assert judge(runs, 0.0859999, Rules()).outcome == "jackpot"


def test_mistakes_are_refused():
    with pytest.raises(ValueError, match=r"no run of 'lt_imp' at density 0.5; there are"):
        judge(table(**B), 0.5, Rules())
    with pytest.raises(ValueError, match="is given twice"):
        judge([*table(**B), *table(**B)], 0.086, Rules())
    with pytest.raises(ValueError, match="not a fraction"):
        judge([SanityRun("lt_imp", 0.1, 0, 92.4, 0.086)], 0.086, Rules())
    with pytest.raises(ValueError, match=r"tau=0.5 is a fraction"):
        Rules(tau=0.5)
    with pytest.raises(ValueError, match="rr_rule='best' is not one of"):
        Rules(rr_rule="best")


def test_every_outcome_follows_from_the_failed_conditions_alone():
    """All patterns in which conditions 2 to 5 hold or fail, made with real numbers."""
    for dense_same, dense_best, random, small in itertools.product((True, False), repeat=4):
        cells = {
            "lt_imp": {0.1: 90.0},
            "dense": {0.1: 90.0 if dense_same else 91.0, 0.2: 90.0 if dense_best else 95.0},
            "rr_imp": {0.1: 80.0 if random else 89.9},
            "sdt": {0.1: 80.0 if small else 89.9},
        }
        found = judge(table(**cells), 0.086, Rules())
        expected = "none" if not (dense_same and random and small) else "jackpot" if dense_best else "secondary prize"
        assert found.outcome == expected, cells
