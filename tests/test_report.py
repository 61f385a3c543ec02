"""From runs to a table: replicates averaged, unfinished ones listed, nothing mixed."""

import subprocess
import sys

import pytest

from lth.report.collect import collect
from lth.report.tables import markdown, summarise
from tests.harness import train


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    for seed in (0, 1):
        train(root / "imp-geometric-0.8" / f"seed{seed}", "sparsity.density=0.8", f"seed={seed}")
    unfinished = root / "imp-geometric-0.8" / "seed2"
    train(unfinished, "sparsity.density=0.8", "seed=2")
    (unfinished / "curve.png").unlink()
    return root


def test_replicates_are_averaged_and_unfinished_ones_left_out(runs):
    found = collect([runs])
    assert [run.complete for run in found] == [True, True, False]
    rows = summarise(found)
    assert [(row["level"], row["n"]) for row in rows] == [(0, 2), (1, 2)]
    values = [run.rows[1]["test_accuracy"] for run in found if run.complete]
    assert rows[1]["mean"] == pytest.approx(sum(values) / 2)
    assert rows[1]["std"] == pytest.approx(abs(values[0] - values[1]) / 2**0.5)
    assert f"{100 * rows[1]['mean']:.2f} ± " in markdown(rows)


def test_the_command_writes_its_files_and_names_the_unfinished(runs, tmp_path):
    command = [sys.executable, "-m", "lth.report", str(runs), "--out", str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "incomplete, left out" in result.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"report.csv", "report.md", "report.png"}


def test_a_folder_without_runs_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="no run under"):
        collect([tmp_path])
