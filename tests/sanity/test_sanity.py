"""The sanity checks: origin of every level, effect of every control, and input of the verdict."""

import csv
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest
import torch

from lth.cli._verdict import judge
from lth.plan import Budget
from lth.plan.sanity_plan import SETTINGS, sanity
from lth.report.collect import collect
from lth.report.sanity_checks import runs_of, settings_table, verdicts
from lth.tickets import Ticket
from tests.support.commands import python_m
from tests.support.harness import train

LADDER = [1.0, 0.5, 0.3]
BUDGETS = {name: Budget(100, 10) for name in ("dense", *SETTINGS)}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("sanity")
    for seed in (0, 1):
        train(root / f"seed{seed}", "method=sanity", "sparsity=list", "sparsity.densities=[0.5,0.3]", f"seed={seed}")
    return root


def plan(**options):
    return {level.name: level for level in sanity(LADDER, Path("f"), BUDGETS, **options)}


def test_every_setting_begins_where_the_paper_says():
    levels = plan()
    by_index = {level.index: name for name, level in levels.items()}
    origin = {name: None if level.source is None else by_index[level.source] for name, level in levels.items()}
    assert origin == {
        "dense": None,
        "lt_imp_0.5": "dense",
        "lt_imp_0.3": "lt_imp_0.5",
        "lt_omp_0.3": "dense",
        "lr_rewind_0.3": "dense",
        "rr_imp_0.3": "lt_imp_0.3",
        "rr_omp_0.3": "lt_omp_0.3",
        "shuffle_0.3": "lt_imp_0.3",
        "random_0.3": "lt_imp_0.3",
        "sdt_0.3": None,
        "wr_omp_0.3": "dense",
        "wr_imp_0.5": "dense",
        "wr_imp_0.3": "wr_imp_0.5",
    }
    assert all(level.source is None or level.source < level.index for level in levels.values())


def test_controls_share_the_data_order_of_their_ticket():
    levels = plan()
    assert {levels[f"{s}_0.3"].stream for s in ("rr_imp", "shuffle", "sdt")} == {levels["lt_imp_0.3"].stream}
    assert levels["dense"].stream == 0


def test_weight_rewinding_trains_the_tail_of_the_schedule():
    levels = plan(rewind="10%")
    assert (levels["wr_imp_0.3"].first_step, levels["wr_imp_0.3"].steps) == (10, 90)
    assert (levels["rr_imp_0.3"].first_step, levels["rr_imp_0.3"].steps) == (0, 100)


def test_only_the_settings_asked_for_at_the_densities_asked_for():
    assert list(plan(settings=["rr_imp"], at=[0.5])) == ["dense", "lt_imp_0.5", "lt_imp_0.3", "rr_imp_0.5"]


@pytest.mark.parametrize("wrong", [{"settings": ["rr"]}, {"at": [0.4]}])
def test_unknown_settings_and_densities_off_the_ladder_are_refused(wrong):
    with pytest.raises(ValueError, match=r"not among|not on the ladder"):
        plan(**wrong)


def test_a_ladder_of_one_density_is_refused():
    with pytest.raises(ValueError, match="needs a ladder of two or more densities"):
        sanity([1.0], Path("f"), BUDGETS)


@pytest.mark.slow
def test_each_control_changes_one_thing(runs):
    tickets = {p.parent.name[9:]: Ticket.load(p) for p in sorted((runs / "seed0").glob("level_*/ticket.safetensors"))}
    won, drawn, shuffled = (tickets[f"{s}_0.3"] for s in ("lt_imp", "rr_imp", "shuffle"))
    dense = tickets["dense"]
    for name, mask in won.masks.items():
        assert torch.equal(won.weights[name], dense.weights[name])  # theta_0
        assert torch.equal(drawn.masks[name], mask)
        assert not torch.equal(drawn.weights[name], won.weights[name])
        assert torch.equal(shuffled.weights[name], won.weights[name])
        assert int(shuffled.masks[name].sum()) == int(mask.sum())
    assert any(not torch.equal(shuffled.masks[n], m) for n, m in won.masks.items())
    assert not torch.equal(tickets["lr_rewind_0.3"].weights["classifier.weight"], dense.weights["classifier.weight"])


@pytest.mark.slow
def test_the_small_dense_net_has_as_many_parameters_as_the_ticket_has_nonzeros(runs):
    won = Ticket.load(next((runs / "seed0").glob("level_*_lt_imp_0.3/ticket.safetensors")))
    small = Ticket.load(next((runs / "seed0").glob("level_*_sdt_0.3/ticket.safetensors")))
    biases = sum(w.numel() for name, w in won.weights.items() if name not in won.masks)
    nonzeros = sum(int(mask.sum()) for mask in won.masks.values()) + biases
    assert sum(w.numel() for w in small.weights.values()) == pytest.approx(nonzeros, rel=0.02)


@pytest.mark.slow
def test_too_few_seeds_is_a_verdict(runs):
    found = verdicts(collect([runs]))
    assert {name: v.outcome for name, v in found.items()} == {
        "imp at density 0.3": "not enough seeds",
        "omp at density 0.3": "not enough seeds",
    }
    table = settings_table(runs_of(collect([runs])))
    assert {row["n"] for row in table} == {2}
    assert {row["setting"] for row in table} == {"dense", *SETTINGS} - {"random"}
    assert all(0 <= v <= 1 for f in found.values() for v in f.correlation.values())


@pytest.mark.slow
def test_the_command_prints_the_verdict_and_writes_it(runs, tmp_path):
    printed = python_m("lth.verdict", str(runs), "--out", str(tmp_path)).stdout
    assert printed.startswith("imp at density 0.3:\ndensity 0.3: not enough seeds")
    assert {path.name for path in tmp_path.iterdir()} == {"sanity.csv", "verdict.txt", "verdict.json"}


@pytest.mark.slow
def test_runs_of_two_datasets_are_judged_apart(runs, tmp_path):
    other = [replace(folder, config=_on(folder.config, "mnist")) for folder in collect([runs])]
    with patch("lth.cli._verdict.collect", lambda paths: [*collect([runs]), *other]):
        text = judge([runs], tmp_path)
    assert text.count("imp at density 0.3:") == 2
    assert "on mnist, imp at density 0.3:" in text
    with (tmp_path / "sanity.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["n"] for row in rows} == {"2"}
    assert len({row["dataset"] for row in rows}) == 2


def _on(config, dataset):
    return {**config, "choices": {**config["choices"], "dataset": dataset}}


@pytest.mark.slow
def test_folders_without_sanity_runs_are_an_error(tmp_path):
    train(tmp_path / "dense", "method=dense", "recipe.epochs=1")
    with pytest.raises(ValueError, match="no run of method=sanity"):
        verdicts(collect([tmp_path]))
