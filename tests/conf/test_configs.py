"""Every YAML of every group composes and builds what it names; found by globbing, so that none is forgotten."""

import json
import math
from pathlib import Path

import pytest
import torch
import yaml
from hydra.utils import instantiate

from lth.tickets import Ticket
from lth.training.schedules import Clock
from tests.support.harness import CONF, a_ticket, configuration, names, train
from tests.support.tiers import engine_but

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
FILES = sorted(CONF.rglob("*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.relative_to(CONF).as_posix())
def test_every_yaml_opens_with_its_purpose(file: Path):
    first = next(line for line in file.read_text().splitlines() if not line.startswith("# @package"))
    assert first.startswith("# ")
    assert len(first) > 10


@pytest.mark.slow
@pytest.mark.parametrize("recipe", names("recipe"))
@pytest.mark.parametrize("optimizer", names("recipe/optimizer"))
def test_recipes_build_with_every_optimizer(recipe: str, optimizer: str, tmp_path: Path):
    chosen = f"recipe={recipe}", f"recipe/optimizer={optimizer}", "recipe/schedule=constant"  # goes with all of them
    cfg = configuration(tmp_path, *chosen, small=False)
    net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))
    built = instantiate(cfg.recipe).build(net, {"0.weight"})
    assert sum(len(group["params"]) for group in built.param_groups) == 4


@pytest.mark.slow
@pytest.mark.parametrize("every", ["step", "epoch"])
@pytest.mark.parametrize("schedule", names("recipe/schedule"))
def test_schedules_give_a_rate_between_zero_and_one_at_every_step(schedule: str, every: str, tmp_path: Path):
    cfg = configuration(tmp_path, f"recipe/schedule={schedule}")
    clock = Clock(instantiate(cfg.recipe.schedule), 120, 6, every)  # 20 epochs: some warm up for ten
    assert all(0 <= clock(step) <= 1 for step in range(120))
    assert max(clock(step) for step in range(120)) > 0.8


@pytest.mark.slow
@pytest.mark.parametrize("trainer", names("trainer"))
def test_trainers_build(trainer: str, tmp_path: Path):
    cpu = [] if torch.cuda.is_available() else ["trainer.accelerator=cpu", "trainer.devices=1"]
    built = instantiate(configuration(tmp_path, f"trainer={trainer}", *cpu).trainer, logger=False)
    assert built.num_sanity_val_steps == 0


@pytest.mark.slow
@pytest.mark.parametrize("logger", names("logger"))
def test_loggers_build(logger: str, tmp_path: Path):
    cfg = configuration(tmp_path, f"logger={logger}")
    assert all(instantiate(node) is not None for node in (cfg.logger or {}).values())


@pytest.mark.slow
@pytest.mark.parametrize("policy", names("prunable"))
def test_prunable_policies_fit_a_network_with_shortcuts(policy: str, tmp_path: Path):
    from lth.pruning import prunable

    cfg = configuration(tmp_path, f"prunable={policy}", "model=resnet20", small=False)
    net = instantiate(cfg.model)
    assert 0 < len(prunable(net, cfg.prunable.include, cfg.prunable.exclude)) <= 22


OURS = [name for name in names("experiment") if name.startswith("own/")]  # papers': test_recipes.py


SHORT = "recipe.epochs=null", "recipe.steps=2", "sparsity.density=0.5"
CHECKS = [*SHORT, "method.at=null", "method.settings=[rr_imp]"]
FEW = ["+trainer.limit_val_batches=1", "+trainer.limit_test_batches=1"]  # of 15,000 images a level
SHORTER = {  # what does not go with two steps or a density of a half
    "own/digits_checks": CHECKS,
    "own/fashion_checks": CHECKS,
    "own/fashion_resnet20": [*SHORT, "sparsity.rate=0.5", "recipe.precision=32-true"],  # some CPUs emulate bf16
    "own/digits_strong": ["recipe.epochs=2", "method.period=1", "sparsity.density=0.5"],
}


@pytest.mark.slow
@pytest.mark.parametrize("experiment", engine_but(OURS, *(name for name in OURS if "resnet" not in name)))
def test_experiments_run_two_steps(experiment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    if experiment.startswith("own/fashion_"):
        if not DEBIAN.is_dir():
            pytest.skip("needs the files of Debian's dataset-fashion-mnist")
        monkeypatch.setenv("LTH_DATA", str(DEBIAN))
    short = [*SHORTER.get(experiment, SHORT), *(FEW if experiment.startswith("own/fashion_") else [])]
    assert train(tmp_path, f"experiment={experiment}", *short, small=False) is not None


# Not ranked: methods that take no density, start from a ticket, are the base of others, or train several settings
NOT_RANKED = {"dense", "hypercube", "surgery", "scheduled", "at_init", "er_imp", "retrain", "sanity"}


@pytest.mark.parametrize(
    ("name", "left"),
    [("digits", {"ssl", "slimming", "str", "sculpting"}), ("fashion", set())],
    ids=["digits", "fashion"],
)
def test_every_method_that_takes_a_density_is_on_the_leaderboard(name: str, left: set[str]):
    file = CONF / f"experiment/own/{name}_leaderboard.yaml"
    ranked = yaml.safe_load(file.read_text())["hydra"]["sweeper"]["params"]["method"].replace(" ", "").split(",")
    assert len(ranked) == len(set(ranked))
    assert set(ranked) | NOT_RANKED | left == set(names("method"))
    assert not set(ranked) & (NOT_RANKED | left)


USERS = {  # a group of parts and a method that has it
    "imp": ("criterion", "allocation", "placement", "repair", "weights"),
    "rigl": ("drop", "grow", "fraction", "memory", "new_weights"),
    "gmp": ("path",),
    "gem_miner": ("rule", "freezing", "score_init", "regulariser"),
}
PARTS = [
    pytest.param(m, group, part, marks=pytest.mark.slow if part == names(f"method/{group}")[0] else pytest.mark.engine)
    for m, groups in USERS.items()
    for group in groups
    for part in names(f"method/{group}")
]
EXTRA = {"rigl": ["method.every=1"], "gmp": ["method.every=1"], "gem_miner": ["method.period=1"]}


def test_every_group_of_parts_has_a_user():
    folders = {folder.name for folder in (CONF / "method").iterdir() if folder.is_dir()}
    assert folders == {group for groups in USERS.values() for group in groups}


@pytest.mark.parametrize(("method", "group", "part"), PARTS)
def test_every_part_goes_with_a_method(method: str, group: str, part: str, tmp_path: Path):
    chosen = [f"method={method}", f"method/{group}={part}", "sparsity=one_shot", "sparsity.density=0.9"]
    chosen += ["recipe.epochs=2" if method == "gem_miner" else "recipe.epochs=1", *EXTRA.get(method, [])]
    chosen.append(f"ticket={a_ticket(tmp_path / 'given.safetensors', configuration(tmp_path))}")
    if part == "from_densities":
        table = {"unit": "percent_kept", "layers": {f"{n}.weight": 50 for n in ("hidden.0", "hidden.1", "classifier")}}
        (tmp_path / "table.json").write_text(json.dumps(table))
        chosen.append(f"method.allocation.path={tmp_path / 'table.json'}")
    if part == "smart_ratio_of_ticket":
        chosen.append("method.exact=false")
    train(tmp_path / "run", *chosen)
    assert (tmp_path / "run" / "results.csv").exists()


@pytest.mark.slow
@pytest.mark.parametrize("support", names("support"))
def test_no_method_leaves_its_support(support: str, tmp_path: Path):
    """IMP inside a sparse net: the ladder begins at the support's density, masks stay inside it."""
    chosen = ["sparsity.density=0.1", f"support={support}"]
    if support not in ("none", "ticket"):
        chosen.append("support.density=0.4")
    given = a_ticket(tmp_path / "given.safetensors", configuration(tmp_path))
    if "ticket" in support:
        chosen.append(f"ticket={given}")
    train(tmp_path / "run", *chosen, "recipe.epochs=1")
    first, *others = [Ticket.load(t) for t in sorted((tmp_path / "run").glob("level_*/ticket.safetensors"))]
    start = {"none": 1, "ticket": Ticket.load(given).density}.get(support, 0.4)
    assert first.density == pytest.approx(start, abs=0.001)
    assert others[-1].density == pytest.approx(0.1, abs=0.001)
    assert len(others) == math.ceil(math.log(0.1 / start) / math.log(0.8))
    for ticket in others:
        assert all((ticket.masks[name] <= mask).all() for name, mask in first.masks.items())
