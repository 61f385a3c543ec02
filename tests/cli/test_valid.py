"""The check of a composed configuration: every key has a line, defaults are valid, mistakes are named."""

import ast
import copy
import math
import re
from functools import cache
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from lth.cli._valid import _walk, check, check_part, entries
from lth.cli._value_tables import tables
from tests.support.harness import CONF, composed_by_hydra

CHOSEN = {  # command lines whose configurations have most keys
    "imp": ("method=imp", "recipe/augment=classic"),
    "rigl": ("method=rigl", "method/memory=momentum", "recipe/optimizer=adamw", "recipe/schedule=imagenet_drops"),
    "granet": ("method=granet", "recipe/optimizer=muon", "recipe/schedule=one_cycle", "sparsity=annealed"),
    "gem_miner": ("method=gem_miner", "method/weights=looks_linear", "recipe/optimizer=sam", "dataset=imagenet"),
    "str": ("method=str_gradual", "support=er", "logger=wandb", "dataset=cifar10", "model=resnet18"),
    "ssl": ("method=ssl", "treatment=reinit", "model=timm", "dataset=caltech101"),
    "sanity": ("method=sanity", "sparsity=geometric", "recipe/schedule=trapezoidal", "prunable=no_ends"),
    "filters": ("method=filters", "recipe/optimizer=soap", "model=conv4"),
    "snip": ("method=snip", "method/allocation=smart_ratio", "recipe/optimizer=shampoo", "treatment=random"),
}
VALUES: dict[str, Any] = {
    "word": "no",
    "number as text": "1",
    "empty": "",
    "NaN": math.nan,
    "infinite": math.inf,
    "negative": -1,
    "zero": 0,
    "huge": 10**30,
    "fraction": 1.5,
    "true": True,
    "list": [1, "a"],
    "empty list": [],
    "mapping": {"a": 1},
    "null": None,
}


@cache
def composed(name: str) -> DictConfig:
    return composed_by_hydra([*CHOSEN[name], "folder=runs/some"])


@pytest.mark.slow
@pytest.mark.parametrize("name", CHOSEN)
def test_a_composed_configuration_is_valid_and_every_key_has_a_line(name: str):
    check(composed(name))
    assert [entry.key for entry in entries(composed(name)) if entry.valid is None] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", CHOSEN)
def test_every_wrong_value_is_refused_by_a_line_that_names_its_key(name: str):
    """A value that the expression of a key does not accept is refused for that key; an accepted one is not."""
    raw: Any = OmegaConf.to_container(composed(name), resolve=False)
    refused = 0
    for entry in list(entries(composed(name))):
        if entry.interpolated or entry.valid is None or entry.key.rpartition(".")[2].startswith("_"):
            continue
        for value in VALUES.values():
            wrong = refused_with(raw, entry.key, value)
            if entry.valid.accepts(value) and not isinstance(value, dict):  # an option of a group has more than keys
                assert entry.key not in wrong, (entry.key, value)
            if not entry.valid.accepts(value):
                assert entry.key in wrong, (entry.key, value)
            refused += entry.key in wrong
    assert refused > 500


def refused_with(raw: dict[str, Any], key: str, value: Any) -> list[str]:
    """The keys that are refused in a configuration with another value of `key`."""
    first, *_ = *above, last = key.split(".")
    part = raw
    for step in above:
        part = part[step]
    before, part[last] = part[last], value
    try:
        found = list(_walk((), {first: raw[first]}, None, tables()))
    finally:
        part[last] = before
    return [entry.key for entry in found if entry.valid and not entry.valid.accepts(entry.value)]


@pytest.mark.parametrize("value", [*VALUES.values(), -math.inf, "none", "off"], ids=repr)
@pytest.mark.parametrize("key", ["recipe.lr", "overwrite", "recipe.epochs", "method.rewind", "recipe.optimizer"])
def test_check_raises_one_line_with_key_value_and_what_is_valid(key: str, value: Any):
    config = copy.deepcopy(composed("imp"))
    OmegaConf.update(config, key, value, merge=False, force_add=True)
    valid = {"recipe.lr": (1.5,), "overwrite": (True,), "recipe.epochs": (None,), "method.rewind": (0, "1", None)}
    if any(value is ok or (value == ok and type(value) is type(ok)) for ok in valid.get(key, ())) or (
        key == "recipe.lr" and isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**63
    ):
        check(config)
        return
    with pytest.raises(ValueError, match=rf"^{re.escape(key)}\S*=.*: must be \S") as error:
        check(config)
    assert "\n" not in str(error.value)


def test_the_message_names_the_key_that_was_set_not_one_that_takes_its_value():
    config = copy.deepcopy(composed("imp"))
    config.seed = "abc"
    with pytest.raises(ValueError, match=r"^seed=abc: must be a whole number at least 0 and at most 4294967295$"):
        check(config)
    config = copy.deepcopy(composed("imp"))
    config.recipe.lr = True
    with pytest.raises(ValueError, match=r"^recipe.lr=true: must be a number over 0$"):
        check(config)


def test_keys_of_the_user_are_not_checked():
    config = copy.deepcopy(composed("imp"))
    OmegaConf.update(config, "mine", {"lr": math.nan}, force_add=True)
    OmegaConf.update(config, "recipe.mine", "no", force_add=True)
    config.model = {"_target_": "mine.Network", "widths": "many", "bias": 3}
    check(config)


@pytest.mark.parametrize(
    ("key", "wrong", "right"),
    [
        ("method.stages.train.callbacks.prune.rounds", "abc", 3),
        ("method.stages.train.callbacks.prune.allocation.dense", "abc", []),
        ("method.stages.train.module.seed", -1, 0),
        ("method.plan.rewind", 0.5, None),
        ("dataset.batch_size", 0, 8),
    ],
)
def test_a_key_that_takes_the_value_of_another_has_its_line_when_it_is_set_itself(key: str, wrong: Any, right: Any):
    config = copy.deepcopy(composed("imp"))
    OmegaConf.update(config, key, right)
    check(config)
    OmegaConf.update(config, key, wrong)
    with pytest.raises(ValueError, match=rf"^{re.escape(key)}=.*: must be \S"):
        check(config)


def test_keys_of_somebody_elses_part_have_no_line_of_another_key():
    config = copy.deepcopy(composed("imp"))
    with open_keys(config):
        config.dataset = {
            "_target_": "mine.Images",
            "classes": 4,
            "channels": 1,
            "image_size": 8,
            "seed": "many",
            "batch_size": None,
        }
    check(config)


@pytest.mark.parametrize(
    ("key", "value", "meant"),
    [("sparsity.density", 50, "0.5"), ("sparsity.density", 500, ""), ("recipe.optimizer.momentum", 9, "")],
)
def test_a_density_in_percent_is_answered_with_the_fraction(key: str, value: Any, meant: str):
    config = copy.deepcopy(composed("imp"))
    OmegaConf.update(config, key, value)
    with pytest.raises(ValueError, match=rf"^{re.escape(key)}=") as error:
        check(config)
    assert ("did you mean" in str(error.value)) == bool(meant)
    assert str(error.value).endswith(f"did you mean {meant}?" if meant else "")


def test_an_optimizer_takes_no_keys_that_the_recipe_sets():
    config = copy.deepcopy(composed("imp"))
    OmegaConf.update(config, "recipe.optimizer.lr", 3, force_add=True)
    with pytest.raises(ValueError, match=r"^recipe\.optimizer\.lr=3: must be left out, because lth sets it$"):
        check(config)


def test_lines_hold_wherever_a_part_is_composed():
    config = copy.deepcopy(composed("imp"))
    cycles = {"_target_": "lth.plan.budget.Cycles", "n": 0}
    OmegaConf.update(config, "method.final_recipe.cycles", cycles, force_add=True)
    with pytest.raises(ValueError, match=r"^method.final_recipe.cycles.n=0: must be a whole number"):
        check(config)


def test_a_group_that_was_emptied_is_named():
    config = copy.deepcopy(composed("imp"))
    with open_keys(config):
        del config.logger
    with pytest.raises(ValueError, match=r"^logger=null: must be an option of the group logger"):
        check(config)


def open_keys(config: DictConfig) -> Any:
    from omegaconf import open_dict

    return open_dict(config)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"jobs": 0}, r"hydra.launcher.jobs=0: must be a whole number at least 1 and at most 10000"),
        ({"preload": "no"}, r"hydra.launcher.preload=no: must be true or false"),
        ({"num_cpus": math.nan}, r"hydra.launcher.num_cpus=nan: must be a number of 0 or more"),
    ],
)
def test_keys_of_the_launcher_are_checked(values: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=f"^{message}$"):
        check_part("hydra.launcher", **values)


def test_the_check_comes_before_torch_is_imported():
    """Neither the language nor the check imports torch: a mistake is answered at once."""
    for name in ("_valid", "_expressions", "run"):
        tree = ast.parse((CONF.parent / "lth" / "cli" / f"{name}.py").read_text())
        names = {a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names}
        names |= {str(node.module) for node in tree.body if isinstance(node, ast.ImportFrom)}
        assert not {name for name in names if name.partition(".")[0] in ("torch", "pytorch_lightning", "numpy")}
