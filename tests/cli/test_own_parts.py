"""A user's own parts, from a folder beside lth: composed, run, and proposed where a name is wrong."""

import re
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from hydra_plugins.lth_configurations import installed
from lth.cli import _own_parts
from lth.cli._errors import check_options, hydra_errors
from lth.cli._own_parts import (
    composed,
    configuration_folders,
    import_from_here,
    options_first,
    search_path_override,
)
from lth.cli.run import CONFIGURATIONS
from tests.support.commands import lth
from tests.support.own_parts import EXPERIMENT, write

OWN = "--config-dir", "settings"


def entry_point(value: str) -> EntryPoint:
    return EntryPoint("mine", value, "lth.configurations")


def test_folders_of_the_command_line_come_after_those_of_lth(tmp_path: Path, monkeypatch):
    write(tmp_path)
    (tmp_path / "more").mkdir()
    monkeypatch.chdir(tmp_path)
    given = [*OWN, f"hydra.searchpath=[file://{tmp_path / 'more'}]"]
    assert configuration_folders(CONFIGURATIONS, given) == [CONFIGURATIONS, tmp_path / "settings", tmp_path / "more"]
    assert configuration_folders(CONFIGURATIONS, ["model=narrow"]) == [CONFIGURATIONS]
    assert search_path_override(["model=narrow"]) == []


@pytest.mark.parametrize(
    ("given", "ordered"),
    [
        ("seed=1 --config-dir a=b model=x", "--config-dir a=b seed=1 model=x"),
        ("seed=1,2 -m -cn mine ~support", "-m -cn mine seed=1,2 ~support"),
        ("seed=1 --config-dir=mine --info config model=x", "--config-dir=mine --info config seed=1 model=x"),
        ("--info seed=1 --cfg job", "--info --cfg job seed=1"),
        ("seed=1 model=x", "seed=1 model=x"),
        ("seed=1 --config-dir", "--config-dir seed=1"),
    ],
)
def test_hydras_options_come_before_the_overrides(given: str, ordered: str):
    assert options_first(given.split()) == ordered.split()


def test_the_current_folder_is_imported_from_unless_python_is_told_not_to(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["/elsewhere"])
    import_from_here()
    import_from_here()
    assert sys.path == [str(tmp_path), "/elsewhere"]
    monkeypatch.setattr(sys, "path", ["/elsewhere"])
    monkeypatch.setattr(_own_parts.sys, "flags", type("Flags", (), {"safe_path": True}))
    import_from_here()
    assert sys.path == ["/elsewhere"]


def test_an_installed_package_adds_its_configurations_without_being_imported(tmp_path: Path, monkeypatch):
    write(tmp_path, "fake_package/settings")
    (tmp_path / "fake_package" / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(installed, "entry_points", lambda group: [entry_point("fake_package.settings")])
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONFIGURATIONS), version_base="1.3"):
        config = compose("config", overrides=["model=narrow", "folder=none"])
    assert config.model._target_ == "mine.narrow"


@pytest.mark.parametrize("value", ["fake_package.settings", "json.settings"])
def test_an_entry_point_that_names_no_folder_is_named(value: str):
    with pytest.raises(ValueError, match=rf"entry point mine = '{value}' .* names no folder"):
        installed.folder_of(entry_point(value))


def test_other_programs_of_hydra_get_nothing(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(installed, "entry_points", lambda group: [entry_point("json.settings")])
    (tmp_path / "theirs.yaml").write_text("a: 1\n")
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(tmp_path), version_base="1.3"):
        assert compose("theirs") == {"a": 1}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mistake", "answer"),
    [
        ("experiment=mine/frist", "did you mean mine/first"),
        ("model=narow", "did you mean narrow"),
        ("method/criterion=largst", "did you mean largest"),
        ("treatment=negat", "did you mean negate"),
        (f"{EXPERIMENT} model.wdth=3", "there is no key 'model.wdth'; did you mean model.width"),
        ("model=narrow modl.width=3", "did you mean model.width"),
    ],
)
@pytest.mark.parametrize("how", ["folder", "search path"])
def test_a_typing_error_is_answered_from_the_users_own_groups_too(mistake: str, answer: str, how: str, tmp_path: Path):
    write(tmp_path)
    own = OWN if how == "folder" else (f"hydra.searchpath=[file://{tmp_path / 'settings'}]",)
    result = lth("run", *own, *mistake.split(), cwd=tmp_path)
    assert (result.returncode, result.stderr.count("\n")) == (1, 1), result.stderr
    assert answer in result.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
@pytest.mark.parametrize("mode", [(), pytest.param(("-m",), marks=pytest.mark.engine)], ids=["alone", "sweep"])
def test_own_parts_run_alone_and_in_a_sweep(mode: tuple[str, ...], tmp_path: Path):
    write(tmp_path)
    result = lth("run", *mode, *OWN, EXPERIMENT, "trainer=cpu", "seed=0,1" if mode else "seed=0", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert len(list(tmp_path.glob("runs/blurred/narrow/noted-geometric-0.64/*/seed*/results.csv"))) == 1 + len(mode)
    assert len(list(tmp_path.rglob("note"))) == 3 * (1 + len(mode))


@pytest.mark.slow
def test_a_ticket_of_an_own_network_is_shown_from_its_masks_and_imports_nothing(tmp_path: Path):
    write(tmp_path)
    trained = lth("run", *OWN, EXPERIMENT, "trainer=cpu", "sparsity=one_shot", "folder=run", cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    (ticket,) = (tmp_path / "run").glob("level_01_*/ticket.safetensors")
    whole = lth("ticket", "show", str(ticket), "--network", "run/config.yaml", cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    (tmp_path / "mine" / "__init__.py").write_text("raise RuntimeError('imported')")
    shown = lth("ticket", "show", str(ticket), cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert "568 of 888 prunable weights kept" in shown.stdout
    assert "the ticket names the network mine.narrow, which is not lth's; if you trust it, build it" in shown.stdout


def explained(*overrides: str) -> str:
    """The answer to a wrong command line."""
    given = [o for o in overrides if "=" in o and not o.startswith("hydra.")]
    with pytest.raises(ValueError, match=r"\S") as error, hydra_errors(CONFIGURATIONS, overrides):
        composed(CONFIGURATIONS, overrides, given)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.slow
@pytest.mark.parametrize("mistake", ["model=mynet", "experiment=mine/first"])
def test_an_unknown_option_hints_at_folders_of_ones_own_where_none_was_given(mistake: str, tmp_path: Path):
    assert "options of your own: --config-dir FOLDER, or 'hydra.searchpath=" in explained(mistake)
    assert "--config-dir" not in explained("--config-dir", str(tmp_path), mistake)
    assert "--config-dir" not in explained(f"hydra.searchpath=[file://{tmp_path}]", mistake)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mistake", "answer"),
    [
        ("seed=0,1", r"seed=0,1: a list is written seed=\[0,1\], and a sweep over the values needs -m"),
        ("recipe.lr = 0.1", "'recipe.lr = 0.1' is not of the form key=value"),
        ("recipe.lr=[1", r"'recipe.lr=\[1' is not of the form key=value"),
        ("method=from_nowhere", r"method/from_nowhere.yaml starts from method/impp.yaml, .*; did you mean imp or"),
        ("method=no_yaml", r"a configuration file is not valid YAML: .* in .*settings/method/no_yaml.yaml\", line 2"),
        (
            "model.height=3",
            r"there is no key 'model.height'; .* \(to set an argument of mine.narrow .*: \+model.height=...\)",
        ),
        ("recipe.height=3", r"^there is no key 'recipe.height'[^+]*$"),
    ],
)
def test_a_mistake_in_a_line_or_in_a_file_of_ones_own_is_answered_in_one_line(
    mistake: str, answer: str, tmp_path: Path
):
    write(tmp_path)
    (tmp_path / "settings/method/from_nowhere.yaml").write_text("defaults: [impp]\n")
    (tmp_path / "settings/method/no_yaml.yaml").write_text("stages: [\n")
    assert re.search(answer, explained("--config-dir", str(tmp_path / "settings"), "model=narrow", mistake))


@pytest.mark.parametrize(
    ("given", "answer"),
    [
        ("--config-dri settings", "there is no option --config-dri; did you mean --config-dir"),
        ("model=mlp --column x", "there is no option --column"),
        ("--config-dir", "argument --config-dir/-cd: expected one argument"),
        ("--cfg nothing", "argument --cfg/-c: invalid choice: 'nothing'"),
    ],
)
def test_an_option_that_hydra_does_not_have_is_answered_with_the_nearest(given: str, answer: str):
    with pytest.raises(ValueError, match=answer):
        check_options(given.split())


def test_hydras_own_options_and_overrides_of_any_form_are_fine():
    check_options(["-m", "-cn", "mine", "--config-dir=here", "--cfg", "job", "~support", "+a.b=-1", "++c=2", "--info"])
