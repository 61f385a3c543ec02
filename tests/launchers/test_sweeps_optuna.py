"""A search that Optuna plans: it finds the better value, repeats without training, and continues after failed jobs."""

from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from hydra_plugins.lth_sweeper.on_optuna import OptunaSweeper, draw
from tests.support.sweeping import output, run_folders, sweep

optuna = pytest.importorskip("optuna", reason="Optuna is not installed: pip install 'lth[optuna]'")


def drawn(text: str, count: int = 200) -> list[str]:
    (override,) = OverridesParser.create().parse_overrides([text])
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
    each = draw(override)
    return [each(study.ask()) for _ in range(count)]


def values(text: str) -> list[float]:
    return [float(override.partition("=")[2]) for override in drawn(text)]


@pytest.mark.slow
def test_every_kind_of_sweep_is_searched_within_its_bounds():
    assert 0.2 < min(values("recipe.lr=interval(0.2,0.9)")) < max(values("recipe.lr=interval(0.2,0.9)")) < 0.9
    logarithmic = values("recipe.lr=tag(log,interval(0.0001,1))")
    assert 60 < sum(value < 0.01 for value in logarithmic) < 140
    assert set(values("recipe.epochs=range(2,9,2)")) == {2, 4, 6, 8}
    assert set(values("recipe.epochs=range(5,0,-2)")) == {1, 3, 5}
    powers = values("recipe.epochs=tag(log,range(1,1001))")
    assert sum(value <= 31 for value in powers) > 60
    assert set(drawn("method=imp,wr")) == {"method=imp", "method=wr"}
    assert set(drawn("model.widths=[3,4],[5]")) == {"model.widths=[3,4]", "model.widths=[5]"}
    assert set(drawn("seed=3")) == {"seed=3"}


@pytest.mark.engine
def test_a_search_finds_the_better_learning_rate_and_starts_again_without_training(tmp_path: Path):
    given = "hydra/sweeper=optuna", "hydra.sweeper.trials=6", "hydra.sweeper.at_a_time=2", "hydra.launcher.jobs=2"
    searched = "recipe.lr=tag(log,interval(0.00001,0.5))", "recipe.weight_decay=0,-1", "method=dense", "sparsity=dense"
    assert sweep(tmp_path, *given, *searched).wait() == 0, output(tmp_path)
    best = [line for line in output(tmp_path).splitlines() if line.startswith("best of 6 trials")]
    assert len(best) == 1
    assert "recipe.weight_decay=0" in best[0]
    failed = len({line for line in output(tmp_path).splitlines() if line.startswith("failed: ")})
    assert 0 < failed < 6
    folders = run_folders(tmp_path)
    assert len(folders) == 6 - failed
    assert sweep(tmp_path, *given, *searched).wait() == 0
    assert [line for line in output(tmp_path).splitlines() if line.startswith("best of 6 trials")] == best * 2
    assert output(tmp_path).count("finished already: ") == len(folders)
    assert run_folders(tmp_path) == folders


@pytest.mark.parametrize("text", ["recipe.epochs=range(5,5)", "recipe.epochs=tag(log,range(1,9,2))"])
def test_a_range_that_cannot_be_searched_is_refused(text):
    with pytest.raises(ValueError, match="a range must hold a value, and have steps of 1 on a log scale"):
        drawn(text)


def test_a_search_without_validation_images_is_refused():
    sweeper = OptunaSweeper()
    sweeper.config, sweeper.launcher = OmegaConf.create({"dataset": {"val_size": 0}}), object()
    with pytest.raises(ValueError, match=r"dataset\.val_size must not be 0"):
        sweeper.sweep(["seed=0"])


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match=r"trials=0"):
        OptunaSweeper(trials=0)
    with pytest.raises(ValueError, match=r"sampler=grid: must be one of tpe"):
        OptunaSweeper(sampler="grid")
