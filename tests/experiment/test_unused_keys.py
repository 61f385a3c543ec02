"""A key that a person sets and that no stage of the run reads is refused, with the key that would act."""

import re
from pathlib import Path

import pytest
import yaml

from docs import recipes
from lth.experiment._given_keys import in_experiment, on_command_line
from lth.experiment._unused_keys import unused
from tests.support.commands import run_py
from tests.support.harness import configuration, names

GROUPS = ("recipe/schedule", "recipe/optimizer", "treatment", "method/criterion", "support")
TINY = ("dataset=synthetic", "dataset.train_size=200", "recipe.epochs=2", "recipe.batch_size=20", "threads=1")


def idle(choices: str, stages: list[str], *keys: str) -> list[str]:
    """What is said of the keys of a command line that nothing reads."""
    cfg = configuration("none", *choices.split(), *(key for key in keys if not key.startswith("ticket")), small=False)
    given = on_command_line(keys, lambda key: key.partition("@")[0] in GROUPS)
    return [sentence for _, sentence in unused(cfg, stages, given)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("choices", "stages", "key", "answer"),
    [
        ("method=edge_popup", ["search"], "recipe.weight_decay=0.1", "set method.search.weight_decay"),
        ("method=edge_popup", ["search"], "recipe.schedule.gamma=0.5", "set method.search.schedule.gamma"),
        (
            "method=edge_popup",
            ["search"],
            "recipe/schedule=constant",
            "set recipe/schedule@method.search.schedule=constant",
        ),
        ("method=gem_miner", ["search"], "recipe.decay=no_norm", "lth.modules.ScoreSearch has no use for recipe.decay"),
        ("method=gem_miner", ["search"], "method.finetune_recipe.lr=0.5", "in the stage finetune, .* method.finetune"),
        ("method=gem_miner method.period=null", ["search"], "method.until=0.8", "acts with method.period, .* not set"),
        ("method=lrr", ["train"], "method.bn_stats=keep", "acts with method.rewind, which is not set"),
        ("method=imp", ["train"], "recipe.level_strategy=plateau", "acts with recipe.total_epochs, which is not set"),
        ("method=imp", ["train"], "treatment=reinit", "nothing points to it"),
        ("method=imp", ["train"], "ticket=a.safetensors", "nothing points to it"),
        ("method=imp", ["train"], "seeds.treatment=3", "nothing points to it"),
        ("method=imp", ["train"], "+method.steps=3", "nothing points to it"),
        (
            "method=sanity",
            ["dense", "lt_imp"],
            "seeds.treatment=3",
            "in the stage rr_imp or rr_omp or shuffle or random",
        ),
    ],
)
def test_a_key_that_no_stage_reads_is_named_with_the_key_that_would_act(choices, stages, key, answer):
    (sentence,) = idle(choices, stages, key)
    assert sentence.startswith(f"{key.lstrip('+')} acts in no stage of this run ({', '.join(stages)})")
    assert re.search(answer, sentence)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("choices", "stages", "key"),
    [
        ("method=edge_popup", ["search", "finetune"], "recipe.decay=no_norm"),
        ("method=edge_popup", ["search"], "method.search.weight_decay=0.1"),
        ("method=edge_popup", ["search"], "recipe.lr=0.1"),
        ("method=edge_popup", ["search"], "recipe.batch_size=10"),  # of the data, which all stages share
        ("method=warm_gem_miner", ["warm", "search"], "recipe.weight_decay=0.1"),
        ("method=retrain", ["train"], "treatment=reinit"),
        ("method=retrain", ["train"], "ticket=a.safetensors"),
        ("method=imp", ["train"], "method/criterion=snip"),
        ("method=imp", ["train"], "method.rounds=2"),
        ("method=imp", ["train"], "seeds.prune=2"),
        ("method=imp", ["train"], "support=erk"),
        ("method=sanity", ["dense", "lt_omp"], "method.prune.seed=1"),  # its stages point to one another
        ("method=edge_popup", ["search"], "++recipe.weight_decay=0.1"),  # need not act
    ],
)
def test_a_key_that_a_stage_reads_is_not_refused(choices, stages, key):
    assert idle(choices, stages, key) == []


def test_keys_of_an_experiment_are_those_of_its_file_and_of_the_files_it_builds_on():
    files = {
        "experiment/a/one": {
            "defaults": ["/experiment/b/two", "_self_", {"override /recipe/schedule@method.search.schedule": "cosine"}],
            "published": {"paper": "x"},
            "hydra": {"mode": "MULTIRUN"},
            "recipe": {"augment": {}, "schedule": {"gamma": None}},
        },
        "experiment/b/two": {"defaults": ["_base", {"override /hydra/launcher": "processes"}], "seed": 17},
        "experiment/b/_base": {"defaults": [{"override /sparsity@_global_.sparsity": "dense"}]},
    }
    given = [(key.path, key.written, key.experiment) for key in in_experiment("a/one", files.__getitem__)]
    assert given == [
        ("method.search.schedule", "recipe/schedule@method.search.schedule=cosine", "a/one"),
        ("recipe.augment", "recipe.augment={}", "a/one"),
        ("recipe.schedule.gamma", "recipe.schedule.gamma=null", "a/one"),
        ("seed", "seed=17", "b/two"),
        ("sparsity", "sparsity@_global_.sparsity=dense", "b/_base"),
    ]


@pytest.mark.slow
def test_a_command_with_an_idle_key_ends_before_a_folder_exists(tmp_path: Path):
    result = run_py("method=edge_popup", "recipe.weight_decay=0.1", *TINY, cwd=tmp_path)
    assert result.returncode == 1
    assert "error: recipe.weight_decay=0.1 acts in no stage of this run (search, finetune)" in result.stderr
    assert not list(tmp_path.iterdir())
    result = run_py("method=imp", "treatment=reinit", *TINY, cwd=tmp_path)
    assert "it acts with method=gem_miner, method=retrain" in result.stderr


@pytest.mark.slow
def test_an_experiment_with_an_idle_key_is_refused_unless_the_command_line_changes_its_method(tmp_path: Path):
    file = tmp_path / "settings" / "experiment" / "mine" / "one.yaml"
    file.parent.mkdir(parents=True)
    content = {"defaults": [{"override /method": "edge_popup"}], "recipe": {"weight_decay": 0.1}}
    file.write_text(f"# @package _global_\n{yaml.safe_dump(content)}")
    command = ["--config-dir", "settings", "experiment=mine/one", *TINY[:2], "recipe.batch_size=20", "threads=1"]
    alone = run_py("--config-dir", "settings", "experiment=mine/one", *TINY[:2], "threads=1", cwd=tmp_path)
    assert alone.returncode == 1
    assert "recipe.weight_decay=0.1 (experiment mine/one) acts in no stage" in alone.stderr
    changed = run_py(*command, "method=global_edge_popup", "recipe.epochs=1", cwd=tmp_path)
    assert changed.returncode == 0, changed.stderr
    assert "recipe.weight_decay=0.1 (experiment mine/one) acts in no stage" in changed.stdout + changed.stderr


@pytest.mark.slow
def test_own_experiments_set_no_idle_key():
    for experiment in (name for name in names("experiment") if name.startswith("own/")):
        assert recipes.idle(experiment) == []
