"""The configuration of a job is the one that Hydra composes, and each choice of options is composed once."""

from collections.abc import Iterator

import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import HydraContext
from omegaconf import DictConfig

from hydra_plugins.lth_launcher._composed import SweepConfigurations
from hydra_plugins.lth_launcher.job import plan
from hydra_plugins.lth_launcher.processes import ProcessLauncher
from lth.cli.run import register_resolvers
from tests.support.harness import CONF, names

JOBS = [
    "seed=1",
    "method=snip sparsity.density=0.1 seed=2",
    "method=snip sparsity.density=0.2 seed=3 model=mlp model.widths=[3,4]",
    "method/criterion=random recipe.lr=0.2",
    "recipe/optimizer=adamw recipe.optimizer.betas=[0.8,0.9] trainer.devices=1",
    "recipe.lr=0.2 recipe.lr=0.3",
    "+trainer.limit_val_batches=1 trainer.devices=2",
    "seed=1 ++seed=2",
    "++new.key=1 seed=4",
    "experiment=own/digits_sanity recipe.epochs=2 folder=x",
    "folder='a b,c' treatment=invert",
    "hydra.job.name=mine seed=1",
]


@pytest.fixture(scope="module")
def loader() -> Iterator[ConfigLoader]:
    register_resolvers()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        yield hydra.config_loader


@pytest.fixture(scope="module")
def sweep(loader) -> DictConfig:
    return compose("config", overrides=["hydra.sweep.dir=swept"], return_hydra_config=True)


@pytest.fixture
def composed(loader, monkeypatch) -> list[list[str]]:
    """The overrides of each configuration that Hydra itself composes from now on."""
    overrides: list[list[str]] = []
    by_hydra = loader.load_sweep_config
    monkeypatch.setattr(loader, "load_sweep_config", lambda *args: overrides.append(args[1]) or by_hydra(*args))
    return overrides


@pytest.mark.slow
@pytest.mark.parametrize("job", JOBS)
def test_it_is_what_hydra_composes(job: str, loader, sweep):
    ours, overrides = SweepConfigurations(loader), job.split(" ") if "'" not in job else job.rsplit(" ", 1)
    first, again = ours(sweep, overrides), ours(sweep, overrides)
    hydras = loader.load_sweep_config(sweep, overrides)
    assert first == again == hydras
    assert str(first.hydra) == str(hydras.hydra)


@pytest.mark.slow
def test_a_choice_is_composed_once_and_jobs_do_not_see_each_others_values(loader, sweep, composed):
    ours = SweepConfigurations(loader)
    rates = [ours(sweep, ["method=snip", f"recipe.lr={rate}"]).recipe.lr for rate in (0.1, 0.2)]
    assert rates == [0.1, 0.2]
    lr = ours(sweep, ["method=snip"]).recipe.lr
    assert composed == [["method=snip"]]
    assert lr == loader.load_sweep_config(sweep, ["method=snip"]).recipe.lr


@pytest.mark.slow
def test_a_recipe_is_a_choice_though_all_recipes_lie_in_folders(loader, sweep, composed):
    ours = SweepConfigurations(loader)
    recipe = "experiment=own/digits_sanity"
    assert [ours(sweep, [f"seed={seed}", recipe]).seed for seed in (1, 2)] == [1, 2]
    assert composed == [[recipe]]


@pytest.mark.slow
@pytest.mark.parametrize("mistake", ["recipe.rate=1", "recipe.lr.deep=1", "metod=imp", "method=ipm"])
def test_a_mistake_is_hydras_error(mistake: str, loader, sweep):
    with pytest.raises(HydraException) as hydras:
        loader.load_sweep_config(sweep, ["seed=1", mistake])
    with pytest.raises(type(hydras.value)) as ours:
        SweepConfigurations(loader)(sweep, ["seed=1", mistake])
    assert str(ours.value) == str(hydras.value)


@pytest.mark.slow
def test_a_glob_names_what_can_be_chosen(loader, sweep, monkeypatch):
    for name in ("load_sweep_config", "get_group_options"):  # which a launcher replaces
        monkeypatch.setattr(loader, name, getattr(loader, name))
    context = HydraContext(config_loader=loader, callbacks=Callbacks())
    ProcessLauncher().setup(hydra_context=context, task_function=lambda _: None, config=sweep)
    (override,) = OverridesParser.create(config_loader=loader).parse_overrides(["method=glob(*,exclude=[er_*])"])
    named = list(override.sweep_string_iterator())
    assert named == [name for name in names("method") if not name.startswith("er_")]


@pytest.mark.slow
def test_a_key_of_other_methods_alone_is_left_out_of_a_job(loader, sweep):
    forced = ["++sparsity.rate=0.5", "++method.every=10", "++method.criterion.mine=1", "sparsity.density=0.5", "seed=0"]
    context = HydraContext(config_loader=loader, callbacks=Callbacks())
    imp, snip, rigl = plan(context, sweep, [[f"method={name}", *forced] for name in ("imp", "snip", "rigl")], 0)
    assert imp.overrides == ["method=imp", forced[0], *forced[2:]]
    assert snip.overrides == ["method=snip", *forced[2:]]  # no option lists the criterion's key: it adds an argument
    assert rigl.overrides == ["method=rigl", *forced[1:]]
    assert snip.config is not None
    assert "rate" not in snip.config["sparsity"]
    with pytest.raises(ValueError, match=r"\+\+sparsity.rate=0.5: no job of this sweep has the key"):
        plan(context, sweep, [["method=snip", forced[0]], ["method=synflow", forced[0]]], 0)
