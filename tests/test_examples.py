"""The scripts of `examples/` do what they say, and stay short."""

import csv
import re
import runpy
import shutil
from functools import partial
from pathlib import Path

import pytest
import torch
import yaml

import lth
from tests.support.commands import lth as run_lth
from tests.support.scripts import quietly

EXAMPLES = Path(__file__).parents[1] / "examples"
SCRIPTS = sorted(EXAMPLES.rglob("*.py"))


def main(name: str):
    """The function `main` of an example."""
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))["main"]


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_an_example_has_less_than_80_lines(script):
    assert len(script.read_text().splitlines()) < 80


def test_at_most_ten_lines_of_the_lightning_script_are_ours():
    lines = (EXAMPLES / "own_module.py").read_text().splitlines()
    ours = [line for line in lines if re.search(r"\blth\.|import lth|\blevel\.|\bkeep\b|\bours\b", line)]
    code = [line for line in ours if not line.lstrip().startswith("#") and '"""' not in line]
    assert len(code) <= 10, code


@pytest.mark.slow
def test_a_module_of_ones_own_is_pruned_and_stays_accurate(tmp_path):
    with quietly():
        main("own_module")(str(tmp_path))
    found = rows(tmp_path)
    assert [round(float(row["density"]), 2) for row in found] == [1.0, 0.5, 0.25, 0.12, 0.06, 0.05]
    assert float(found[0]["test_accuracy"]) > 0.9
    assert float(found[-1]["test_accuracy"]) > 0.75


@pytest.mark.slow
def test_plain_pytorch_prunes_and_leaves_a_ticket(tmp_path):
    accuracies = main("plain_pytorch")(str(tmp_path))
    ticket = lth.Ticket.load(tmp_path / "ticket.safetensors")
    assert ticket.density == pytest.approx(0.05, abs=1e-3)
    assert accuracies[0] > 0.9
    assert accuracies[-1] > 0.7


@pytest.mark.engine
def test_a_timm_network_is_fine_tuned_from_its_file_and_pruned(tmp_path):
    timm = pytest.importorskip("timm", reason="needs the extra lth[timm]")
    from safetensors.torch import save_file

    torch.manual_seed(0)
    weights = timm.create_model("test_resnet").state_dict()
    save_file(weights, tmp_path / "weights.safetensors")
    train = partial(main("fine_tuned_timm"), str(tmp_path / "weights.safetensors"))
    with quietly():
        train(str(tmp_path / "run"), "test_resnet", 1)
    ticket = lth.Ticket.load(tmp_path / "run" / "level_02_density_0.2" / "ticket.safetensors")
    assert ticket.density == pytest.approx(0.2, abs=1e-3)
    assert torch.equal(ticket.weights["net.conv1.0.weight"], weights["conv1.0.weight"])
    assert not any(name.startswith("net.fc") for name in ticket.masks)


def test_a_dataset_of_ones_own_needs_four_keys():
    (file,) = (EXAMPLES / "project").rglob("settings/dataset/*.yaml")
    own = {"light"}
    assert set(yaml.safe_load(file.read_text())) - own == {"defaults", "_target_", "classes", "channels", "image_size"}


@pytest.mark.slow
def test_a_project_of_ones_own_runs_its_network_dataset_and_criterion(tmp_path):
    shutil.copytree(EXAMPLES / "project", tmp_path / "project")
    where = tmp_path / "project"
    own = "run", "--config-dir", "digits_at_night/settings", "experiment=night/two_paths", "trainer=cpu"
    result = run_lth(*own, "recipe.epochs=4", "folder=run", cwd=where)
    assert result.returncode == 0, result.stderr
    found = rows(where / "run")
    assert [round(float(row["density"]), 3) for row in found] == [1.0, 0.5, 0.25, 0.125, 0.1]
    assert float(found[0]["test_accuracy"]) > 0.8
    reported = run_lth("report", "run", "--out", "report", cwd=where)
    assert reported.returncode == 0, reported.stderr
    assert (where / "report" / "report.html").is_file()
