"""From runs to a report: replicates averaged, ladders joined, unfinished runs listed, nothing mixed."""

import csv
import subprocess
import sys
from statistics import fmean, stdev

import pytest
import yaml

from lth.report._intervals import interval_of_mean
from lth.report._sections import _split
from lth.report.collect import collect
from lth.report.write import write_report as report
from tests.support.commands import python_m
from tests.support.harness import train
from tests.support.written_runs import only_series, write_run


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_runs_that_differ_in_density_and_seed_alone_are_one_curve(tmp_path):
    for density, accuracy in ((0.1, 0.9), (0.05, 0.8), (0.02, 0.5)):
        for seed in range(3):
            write_run(tmp_path, density=density, seed=seed, levels=[(density, accuracy + 0.01 * seed)])
    _, (series,) = only_series(tmp_path)
    assert series.label == "erk"
    assert [(p.density, p.n) for p in series.points] == [(0.1, 3), (0.05, 3), (0.02, 3)]
    values = [0.9, 0.91, 0.92]
    first = series.points[0]
    assert (first.mean, first.sd) == pytest.approx((fmean(values), stdev(values)))
    assert (first.low, first.high) == interval_of_mean(values, fraction=True)
    assert first.seeds == pytest.approx({0: 0.9, 1: 0.91, 2: 0.92})


def test_a_method_trained_otherwise_than_others_says_so_even_alone(tmp_path):
    write_run(tmp_path, "erk", options="experiment=x,recipe.epochs=60,method.every=2")
    write_run(tmp_path, "snip", options="experiment=x,recipe.epochs=2")
    write_run(tmp_path, "retrain", options="experiment=x,recipe.epochs=2,treatment=invert")
    _, series = only_series(tmp_path)
    assert [one.label for one in series] == ["erk epochs=60", "retrain epochs=2 treatment=invert", "snip epochs=2"]


def test_a_setting_that_differs_makes_two_curves_which_its_value_tells_apart(tmp_path):
    write_run(tmp_path, options="experiment=x", seed=0)
    write_run(tmp_path, options="experiment=x,recipe.lr=0.5", config={"lr": 0.5})
    write_run(tmp_path / "copied", config={"lr": 0.7})
    section, series = only_series(tmp_path)
    assert sorted(one.label for one in series) == ["erk", "erk experiment=x", "erk experiment=x lr=0.5"]
    assert section.overrides == ()


def test_settings_in_the_path_of_a_ticket_are_none_of_the_run():
    name = "recipe.epochs=1,ticket=_runs_imp-0.05_recipe.epochs=3,sparsity.levels=3_seed0_ticket.safetensors"
    given = ["method=retrain", "ticket=x", "recipe.epochs=1"]
    ours = ["recipe.epochs=1", name.partition(",")[2]]
    assert _split(name, given) == ours
    assert _split(name, None) == [*ours[:1], *ours[1].split(",")]  # of a version that did not record overrides


def test_what_all_share_goes_to_the_caption(tmp_path):
    for method in ("erk", "snip"):
        write_run(tmp_path, method=method, options="experiment=x")
    section, series = only_series(tmp_path)
    assert section.overrides == ("experiment=x",)
    assert [one.label for one in series] == ["erk", "snip"]


def test_rungs_that_two_ladders_share_count_a_seed_once(tmp_path):
    write_run(tmp_path, "imp", 0.64, 0, [(1.0, 0.9), (0.8, 0.8), (0.64, 0.7)], ladder="geometric")
    write_run(tmp_path, "imp", 0.5, 0, [(1.0, 0.9), (0.8, 0.8), (0.6402, 0.7), (0.5, 0.6)], ladder="geometric")
    write_run(tmp_path, "imp", 0.5, 1, [(1.0, 1.0), (0.8, 0.9), (0.64, 0.8), (0.5, 0.7)], ladder="geometric")
    _, (series,) = only_series(tmp_path)
    assert [(p.density, p.n) for p in series.points] == [(1.0, 2), (0.8, 2), (0.64, 2), (0.5, 2)]
    assert [p.mean for p in series.points] == pytest.approx([0.95, 0.85, 0.75, 0.65])


def test_stages_are_curves_of_their_own(tmp_path):
    levels = [
        {"stage": stage, "density": 0.1, "target_density": 0.1, "test_accuracy": accuracy}
        for stage, accuracy in (("search", 0.6), ("finetune", 0.9))
    ]
    write_run(tmp_path, "gem_miner", levels=levels)
    _, series = only_series(tmp_path)
    found = {one.label: one.points[0].mean for one in series}
    assert found == {"gem_miner search": 0.6, "gem_miner finetune": 0.9}


def test_densities_that_training_finds_are_averaged_level_by_level(tmp_path):
    for seed, density in enumerate((0.1, 0.12)):
        level = {"density": density, "target_density": 1.0, "test_accuracy": 0.9}
        write_run(tmp_path, "str", 1.0, seed, [level], ladder="dense")
    _, (series,) = only_series(tmp_path)
    assert [(p.density, p.n) for p in series.points] == [(pytest.approx(0.11), 2)]


def test_a_smaller_dense_net_stands_at_the_density_of_its_ticket(tmp_path):
    common = {"test_accuracy": 0.9, "density": 1.0}
    levels = [
        {**common, "stage": "dense", "target_density": 1.0, "kept": 1000},
        {**common, "stage": "sdt", "target_density": 0.1, "kept": 110},
    ]
    write_run(tmp_path, "sanity", levels=levels)
    _, series = only_series(tmp_path)
    assert {one.label: one.points[0].density for one in series} == {"sanity dense": 1.0, "sanity sdt": 0.1}


@pytest.mark.slow
def test_files_of_ones_own_in_a_runs_folder_change_nothing(tmp_path):
    folder = write_run(tmp_path)
    (folder / "level_notes.txt").write_text("mine")
    (folder / "level_00_copy.txt").write_text("mine")
    (folder / "level_archive").mkdir()
    (run,) = collect([tmp_path])
    assert (run.state, len(run.rows)) == ("complete", 1)


def test_what_is_not_complete_is_listed_with_the_reason_and_in_no_mean(tmp_path):
    write_run(tmp_path / "runs", seed=0)
    stopped = write_run(tmp_path / "runs", seed=1, levels=[(0.1, 0.1)], complete=False)
    (stopped / "level_01_density_0.05").mkdir()
    write_run(tmp_path / "runs", seed=2, levels=[(0.1, float("nan"))])
    crashed = write_run(tmp_path / "runs", seed=3, complete=False)
    (crashed / "error.txt").write_text("ValueError: loss is nan at step 7\n\nTraceback ...")
    (tmp_path / "runs" / "foreign").mkdir()
    (tmp_path / "runs" / "foreign" / "config.yaml").write_text("- not ours")
    text = report([tmp_path / "runs"], tmp_path / "out")
    assert "incomplete, left out: " in text
    assert "stopped in level_01_density_0.05" in text
    assert "test_accuracy of level 0 is nan" in text
    assert "ValueError: loss is nan at step 7" in text
    assert "not written by lth" in text
    assert [(row["seed"], row["test_accuracy"]) for row in table(tmp_path / "out" / "report.csv")] == [("0", "0.9")]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "1 incomplete and 3 failed, left out" in page
    assert all(run in page for run in ("seed1", "seed2", "seed3", "foreign"))


@pytest.mark.slow
def test_cost_is_three_forward_passes_of_kept_weights_for_every_image_seen_so_far(tmp_path):
    write_run(tmp_path / "runs", "imp", 0.5, 0, [(1.0, 0.9), (0.5, 0.8)], ladder="geometric")
    report([tmp_path / "runs"], tmp_path / "out")
    rows = table(tmp_path / "out" / "report.csv")
    images = 2 * (120 - 20)
    assert [float(row["multiply_adds"]) for row in rows] == [3 * 1000 * images, 3 * 500 * images]
    assert [float(row["total_multiply_adds"]) for row in rows] == [3 * 1000 * images, 3 * 1500 * images]
    assert [float(row["total_seconds"]) for row in rows] == [1.5, 3.0]


@pytest.mark.slow
def test_real_runs_make_every_file_and_reading_them_needs_no_torch(tmp_path):
    for seed in (0, 1):
        folder = tmp_path / "runs" / "synthetic" / "mlp" / "imp-geometric-0.8" / f"seed{seed}"
        train(folder, "sparsity.density=0.8", f"seed={seed}")
    result = python_m("lth.report", str(tmp_path / "runs"), "--out", str(tmp_path / "out"))
    rows = table(tmp_path / "out" / "report.csv")
    assert [(row["seed"], row["level"]) for row in rows] == [("0", "0"), ("0", "1"), ("1", "0"), ("1", "1")]
    values = [100 * float(row["test_accuracy"]) for row in rows if row["level"] == "1"]
    assert f"{fmean(values):.2f} ± {stdev(values):.2f}" in result.stdout
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *(f"report.{kind}" for kind in ("csv", "md", "tex", "png", "svg", "html")),
        *("summary.csv", "layers.png", "cost.png"),
    }
    code = "import sys, pathlib; from lth.report.write import write_report;"
    code += "write_report(sys.argv[1:2], pathlib.Path(sys.argv[2]))"
    code += "; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "runs"), str(tmp_path / "again")], check=True)


def test_mistakes_are_errors_that_say_what_there_is(tmp_path):
    with pytest.raises(ValueError, match="no run under"):
        collect([tmp_path])
    write_run(tmp_path)
    with pytest.raises(ValueError, match=r"'accuracy'; --column can be one of \['test_accuracy'\]"):
        report([tmp_path], tmp_path / "out", "accuracy")


@pytest.mark.slow
def test_a_loss_is_compared_as_it_is_and_a_section_without_it_is_named(tmp_path):
    losses = [{"density": 0.1, "test_accuracy": 0.5, "val_loss": loss} for loss in (1.5, 2.5)]
    for seed, row in enumerate(losses):
        write_run(tmp_path / "runs", seed=seed, levels=[row])
    write_run(tmp_path / "runs", seed=3, method="imp", levels=[{"density": 0.1, "test_accuracy": 0.5, "val_loss": 3.0}])
    other = write_run(tmp_path / "other")
    text = report([tmp_path / "runs"], tmp_path / "out", "val_loss")
    assert "mlp on digits: val loss, mean ± " in text
    assert "| erk | 2 ± 0.7071 (2) |" in text  # no percent
    assert "**" not in text  # whether more is better is not known
    rows = table(tmp_path / "out" / "report.csv")
    assert [row["val_loss"] for row in rows] == ["1.5", "2.5", "3.0"]
    assert table(tmp_path / "out" / "summary.csv")[0]["column"] == "val_loss"
    page = (tmp_path / "out" / "report.html").read_text()
    assert "200.00 %" not in page
    config = yaml.safe_load((other / "config.yaml").read_text())
    config["config"]["choices"]["model"] = "lenet"
    (other / "config.yaml").write_text(yaml.safe_dump(config))
    both = report([tmp_path / "runs", tmp_path / "other"], tmp_path / "out", "val_loss")
    assert "left out: no level of lenet on digits has the column 'val_loss'; --column can be one of" in both
    assert "2 ± 0.7071" in both


def test_runs_without_changes_are_not_read_again(tmp_path):
    first = write_run(tmp_path, seed=0)
    known = {}
    collect([tmp_path], known)
    held = known[first.resolve()]
    write_run(tmp_path, seed=1)
    assert [run.seed for run in collect([tmp_path], known)] == [0, 1]
    assert known[first.resolve()] is held
    (first / "error.txt").write_text("ValueError: no")
    assert collect([tmp_path], known)[0].state == "failed"


@pytest.mark.parametrize(
    "text",
    [
        "config:\n  a: 1\n  b:\n  - x\n  - {y: 2}\n  c:\n    d: 'two\n\n      lines'\nrecord: {}\n",
        "config:\n  a: &id001\n    x: 1\n  b: *id001\nrecord: null\n",
        'config:\n  "on": 1\n  b: 2\nrecord:\n  a: 1\n',
    ],
)
def test_configurations_read_part_by_part_are_those_read_at_once(text):
    from lth.storage._yaml import load_cached, load_yaml

    assert load_cached(text.encode()) == load_yaml(text.encode())
