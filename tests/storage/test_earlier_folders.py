"""A run folder of an earlier version is continued: moved code and new keys at their defaults make no difference."""

from importlib import import_module
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from lth.experiment._stored_configuration import series_configuration
from lth.report._sections import sections
from lth.report.collect import collect
from lth.storage.folder import RunFolder, different_keys
from lth.storage.renamed import RENAMED, current_path
from tests.support.commands import run_py
from tests.support.harness import CONF, SMALL, configuration, train
from tests.support.left import unseal

# Command lines whose config.yaml version 3e08ef7 wrote, before modules moved into packages. If a default has changed
# since, the command sets its old value.
EARLIER = {
    "imp": ["method=imp"],
    "rigl": ["method=rigl", "sparsity.density=0.3", "method/new_weights=normal", "method.every=100"],
    "gmp": ["method=gmp", "sparsity.density=0.3", "method.every=1000"],
    "gem_miner": [
        *("method=warm_gem_miner", "sparsity.density=0.3", "method.period=5", "method.finetune_recipe.lr=0.01"),
        *("model.batch_norm=false", "model.bias=true", "model.affine=true", "model.init=kaiming_normal"),
    ],
    "sanity": ["method=sanity"],
    "ssl": [
        *("method=ssl", "recipe/schedule=cosine", "sparsity=dense", "method.finetune=false", "method.layers=['*']"),
        "method.terms.units.unit._target_=lth.pruning.structured.units.inputs",
    ],
    "surgery": ["method=surgery", "recipe/optimizer=muon"],
    "random": ["method=random", "sparsity.density=0.3", "method/weights=looks_linear", "method/repair=mirror"],
}
# Short runs of the same methods. Their outcomes, in earlier/outcomes.yaml, are those of version 3e08ef7.
LADDER = "sparsity=list", "sparsity.densities=[0.5,0.3]"
SHORT = {
    "imp": ["method=imp", *LADDER, "recipe.epochs=3"],
    "rigl": [*EARLIER["rigl"], "method.every=3", "recipe.epochs=3"],
    "gmp": [*EARLIER["gmp"], "method.every=3", "recipe.epochs=3"],
    "gem_miner": [*EARLIER["gem_miner"], "method.period=1", "method.warm=1ep", "recipe.epochs=4"],
    "sanity": ["method=sanity", *LADDER, "recipe.epochs=2"],
    "ssl": [*EARLIER["ssl"], "recipe.epochs=3"],
    "surgery": [*EARLIER["surgery"], "recipe.epochs=3"],
    "random": [*EARLIER["random"], "recipe.epochs=3"],
}
FOLDER = "runs/earlier"
STORED = Path(__file__).parent / "earlier"


def stored(name):
    return yaml.safe_load((STORED / f"{name}.yaml").read_text())


def resolved(overrides):
    return OmegaConf.to_container(configuration(FOLDER, *overrides), resolve=True)


def paths(value):
    """All dotted paths into lth in a configuration."""
    if isinstance(value, str):
        return {value} if value.startswith("lth.") else set()
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return set().union(*map(paths, inner))


def exists(path):
    module, _, name = path.rpartition(".")
    return hasattr(import_module(module), name)


@pytest.mark.slow
@pytest.mark.parametrize("name", EARLIER)
def test_a_configuration_stored_by_an_earlier_version_is_the_present_one(name, tmp_path):
    (tmp_path / "config.yaml").write_text((STORED / f"{name}.yaml").read_text())
    RunFolder(tmp_path).claim(resolved(EARLIER[name]), {})
    changed = resolved([*EARLIER[name], "recipe.lr=0.123"])
    with pytest.raises(ValueError, match=r"these keys differ \(there -> now\): recipe\.lr: .* -> 0\.123\. Choose"):
        RunFolder(tmp_path).claim(changed, {})


@pytest.mark.slow
@pytest.mark.parametrize("name", EARLIER)
def test_a_report_compares_a_run_of_an_earlier_version_with_one_of_today(name, tmp_path):
    for folder in (tmp_path / "old", tmp_path / "new"):
        folder.mkdir()
    (tmp_path / "old" / "config.yaml").write_text((STORED / f"{name}.yaml").read_text())
    cfg = configuration(FOLDER, *EARLIER[name], "seed=1")
    config = OmegaConf.to_container(cfg, resolve=True)
    RunFolder(tmp_path / "new").claim(config, {}, series=series_configuration(cfg))
    (section,) = sections(collect([tmp_path]))
    assert [len(group.runs) for group in section.groups] == [2]


@pytest.mark.slow
@pytest.mark.parametrize("name", SHORT)
def test_defaults_added_since_an_earlier_version_keep_its_results(name, tmp_path):
    folder = RunFolder(tmp_path / "run")
    train(folder.path, *SHORT[name])
    outcomes = [folder.finished(level) for level in folder.levels]
    expected = yaml.safe_load((STORED / "outcomes.yaml").read_text())[name]
    assert [outcome["row"]["name"] for outcome in outcomes] == [level["level"] for level in expected]
    for outcome, level in zip(outcomes, expected, strict=True):
        assert [layer["kept"] for layer in outcome["layers"]] == pytest.approx(level["kept"], abs=1)
        for key in ("train_loss", "test_loss"):  # processors round differently
            assert outcome["row"][key] == pytest.approx(level[key], rel=1e-3), (level["level"], key)


@pytest.mark.slow
@pytest.mark.parametrize("name", EARLIER)
def test_every_path_stored_by_an_earlier_version_leads_to_code_of_today(name):
    assert [path for path in paths(stored(name)["config"]) if not exists(current_path(path))] == []


@pytest.mark.slow
def test_every_renamed_path_leads_to_code_of_today():
    for old, new in RENAMED.items():
        found = current_path(old)
        assert found == current_path(new) != old
        try:
            import_module(found)
        except ModuleNotFoundError:
            assert exists(found), old


def test_a_path_moved_twice_and_a_path_in_a_moved_module_are_found(monkeypatch):
    for old, new in {"lth.a": "lth.b", "lth.b.f": "lth.b.g", "lth.a.h": "lth.c.h"}.items():
        monkeypatch.setitem(RENAMED, old, new)
    assert [current_path(f"lth.{path}") for path in ("a", "a.f", "a.h", "a.x.y", "ab")] == [
        "lth.b",
        "lth.b.g",
        "lth.c.h",
        "lth.b.x.y",
        "lth.ab",
    ]


def test_the_moved_keys_of_a_component_are_those_of_today():
    regrow = {"_target_": "lth.callbacks.Regrow", "every": 7, "drop": {"_target_": "lth.f", "every": 2}, "seed": 1}
    now = {"_target_": "lth.callbacks.Regrow", "times": {"every": 7}, "seed": 1}
    now["update"] = {"drop": {"_target_": "lth.f", "every": 2}}
    assert different_keys({"a": regrow}, {"a": now}) == []
    assert different_keys({"a": {**regrow, "every": 8}}, {"a": now}) == ["a.times.every: 8 -> 7"]
    other = {"_target_": "lth.callbacks.Rewind", "every": 7}
    assert different_keys({"a": other}, {"a": other}) == []


def test_a_new_key_is_accepted_at_its_default_only():
    old, new = {"lr": 0.1}, {"lr": 0.1, "warm": {"epochs": 0}}
    assert different_keys(old, new) == ["warm.epochs: 'absent' -> 0"]
    assert different_keys(old, new, lambda key: key == "warm.epochs") == []
    assert different_keys(new, old, lambda key: True) == ["warm.epochs: 0 -> 'absent'"]
    assert different_keys({"lr": 0.1}, {"lr": 0.2}, lambda key: True) == ["lr: 0.1 -> 0.2"]


@pytest.mark.slow
def test_no_group_is_empty_by_default():
    """Choosing a file for an empty group would only add keys at their defaults, which older folders may lack."""
    files = [path for path in CONF.rglob("*.yaml") if "experiment" not in path.parts]
    empty = [
        entry
        for path in files
        for entry in (yaml.safe_load(path.read_text()) or {}).get("defaults", ())
        if isinstance(entry, dict) and None in entry.values() and "experiment" not in entry
    ]
    assert empty == []


@pytest.mark.slow
def test_a_run_goes_on_without_the_keys_that_its_version_did_not_have(tmp_path):
    """A default may be an interpolation, such as that of `seeds.prune`."""
    options = ["method=imp", "sparsity=list", "sparsity.densities=[0.5]", "seed=3"]
    train(tmp_path / "run", *options)
    unseal(tmp_path / "run")
    command = [*SMALL, *options, "folder=run"]
    path = tmp_path / "run" / "config.yaml"
    content = yaml.safe_load(path.read_text())
    content["config"]["choices"].update(dataset="synthetic", model="mlp", method="imp")  # as a command line names them
    del content["config"]["allow_dead"], content["config"]["seeds"]["prune"]
    del content["config"]["method"]["stages"]["train"]["callbacks"]["rewind"]["optimizer"]
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    again = run_py(*command, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "2 of 2 levels are finished already" in again.stdout
    refused = run_py(*command, "seeds.prune=4", "allow_dead=false", cwd=tmp_path)
    assert "seeds.prune: 'absent' -> 4, allow_dead: 'absent' -> False. Choose" in refused.stderr
