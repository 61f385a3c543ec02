"""Which runs are one series: those whose configurations differ in seed and density alone, whatever the keys' names."""

import pytest
import yaml
from omegaconf import OmegaConf

from lth.experiment._stored_configuration import series_configuration
from lth.report._sections import Section, _after, sections
from lth.report._series import Point, Series
from lth.report._tables import _grid
from lth.report.collect import collect
from lth.storage.folder import RunFolder
from tests.support.harness import configuration
from tests.support.left import unseal
from tests.support.written_runs import PNG_END


def claim(folder, *overrides, levels=1):
    """A folder as a run leaves it after one level, with what `claim` stores."""
    cfg = configuration(folder, *overrides)
    config = OmegaConf.to_container(cfg, resolve=True)
    config["choices"] |= {"method": next(o for o in overrides if o.startswith("method=")).partition("=")[2]}
    series = series_configuration(cfg) | {"choices": config["choices"]}
    folder.mkdir(parents=True)
    RunFolder(folder).claim(config, {}, series=series, levels=levels)
    (folder / "level_00_dense").mkdir()
    row = {"level": 0, "density": 0.1, "target_density": 0.1, "kept": 10, "test_accuracy": 0.9}
    RunFolder(folder).finish(folder / "level_00_dense", {"row": row, "layers": []})
    return folder


def groups(root):
    return [group for section in sections(collect([root])) for group in section.groups]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["filters", "granet", "imp", "str", "rigl", "gem_miner"])
def test_runs_at_two_densities_and_of_two_seeds_are_one_series(method, tmp_path):
    for density in (0.3, 0.2):
        for seed in (0, 1):
            overrides = f"method={method}", f"sparsity.density={density}", f"seed={seed}"
            claim(tmp_path / f"{density}" / f"seed{seed}", *overrides)
    (group,) = groups(tmp_path)
    assert (group.label, len(group.runs)) == (method, 4)


@pytest.mark.slow
def test_a_replicate_of_an_earlier_version_that_stored_no_series_belongs_to_it(tmp_path):
    claim(tmp_path / "new", "method=imp", "sparsity.density=0.3", "seed=0")
    old = claim(tmp_path / "old", "method=imp", "sparsity.density=0.2", "seed=1")
    unseal(old)
    content = yaml.safe_load((old / "config.yaml").read_text())
    (old / "config.yaml").write_text(yaml.safe_dump({key: content[key] for key in ("config", "record")}))
    (old / "curve.png").write_bytes(PNG_END)
    (group,) = groups(tmp_path)
    assert [run.complete for run in group.runs] == [True, True]


@pytest.mark.slow
def test_a_replicate_in_a_folder_with_a_name_of_its_own_belongs_to_it(tmp_path):
    overrides = "method=imp", "sparsity=list", "sparsity.density=0.2"
    claim(tmp_path / "runs" / "digits" / "mlp" / "imp-list-0.2" / "seed0", *overrides, "seed=0")
    claim(tmp_path / "again", *overrides, "seed=1")
    (group,) = groups(tmp_path)
    assert (group.sparsity, len(group.runs)) == ("list", 2)


@pytest.mark.slow
def test_another_learning_rate_is_another_series(tmp_path):
    claim(tmp_path / "a", "method=granet", "sparsity.density=0.3")
    claim(tmp_path / "b", "method=granet", "sparsity.density=0.3", "recipe.lr=0.05")
    assert len(groups(tmp_path)) == 2


@pytest.mark.slow
def test_a_number_that_merely_equals_the_density_is_kept(tmp_path):
    series = series_configuration(configuration(tmp_path, "method=filters", "sparsity.density=0.3", "recipe.ema=0.3"))
    assert series["recipe"]["ema"] == 0.3
    assert series["sparsity"]["density"] == "<density>"
    assert "<density>" in yaml.safe_dump(series["method"])
    assert series["seeds"] == dict.fromkeys(("init", "data", "prune", "treatment"), "<seed>")


@pytest.mark.slow
def test_a_run_is_complete_when_its_planned_levels_are_finished_with_or_without_a_picture(tmp_path):
    claim(tmp_path / "whole", "method=imp", "seed=0")
    (claim(tmp_path / "part", "method=imp", "seed=1", levels=2) / "curve.png").touch()
    assert [(run.path.name, run.state) for run in collect([tmp_path])] == [
        ("part", "incomplete"),
        ("whole", "complete"),
    ]


def test_settings_that_a_long_folder_name_cuts_off_come_from_the_recorded_command():
    given = ["ticket=a/b", "+treatment=reinit", "seed=3", "threads=1", "recipe.lr=0.1", "method=retrain"]
    assert _after("tic", given) == ["ticket=a/b", "treatment=reinit"]
    assert _after("tic", None) == []


def test_equal_means_are_both_best_and_a_single_seed_is_not_best_beside_three():
    def one(label, mean, n):
        seeds = dict.fromkeys(range(n), mean)
        return Series(label, None, "", (Point(0.5, n, mean, None, None, None, None, seeds=seeds),))

    section = Section("digits", "mlp", (), ())
    three = [one("imp", 0.9589615, 3), one("wr", 0.95896145, 3), one("single", 0.97, 1), one("rigl", 0.95, 3)]
    assert _grid(section, three).best == {("imp", "0.5"), ("wr", "0.5")}
