"""Published recipes: all compose, say what was published, give the plan of their paper and run; found by globbing."""

import json
import re
import shutil
from functools import cache, reduce
from pathlib import Path
from typing import Any

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from docs import recipes
from lth.cli._valid import check, entries
from tests.support.harness import CONF, a_ticket, configuration, names, train
from tests.support.short_recipes import choices, make_networks_small, shortened
from tests.support.tiers import engine_but

PAPERS = [name for name in names("experiment") if not name.startswith("own/")]  # test_configs.py runs those
FIRST = {name.partition("/")[0]: name for name in reversed(PAPERS)}.values()  # of each paper
PAGE = (CONF.parent / "docs" / "recipes.md").read_text().splitlines()


@pytest.mark.slow
# scope="module" puts the two tests of a recipe next to each other, so that the recipe is composed once
@pytest.mark.parametrize("name", engine_but(PAPERS, *FIRST), scope="module")
def test_a_recipe_composes_builds_its_plan_and_stands_in_the_table(name: str):
    published, cfg = recipes.block(name), recipes.configuration(name)
    assert set(published) - {"differs"} == {"paper", "where", "expected", "confidence"}
    differs = published.get("differs", {})
    assert all(isinstance(sentence, str) and len(sentence) > 20 for sentence in differs.values())
    composed = OmegaConf.to_container(cfg.published)
    taken_away = dict.fromkeys((composed.get("differs") or {}).keys() - differs)
    assert composed == published | ({"differs": differs | taken_away} if "differs" in composed else {})
    assert published["confidence"] in ("high", "medium", "low")
    assert (
        re.search(r"\d", published["expected"])
        or "ticket" in published["expected"]
        or "not stated" in published["expected"]
    )
    check(cfg)
    assert {entry.key.partition(".")[0] for entry in entries(cfg) if entry.valid is None} <= {"hydra"}
    stages = {level.stage for level in recipes.plan(cfg)}
    assert stages <= set(cfg.method.stages)
    assert all(0 <= instantiate(cfg.recipe).schedule(step, 100.0, 1.0) <= 1 for step in (0.0, 50.0, 99.0))
    unresolved = json.dumps(OmegaConf.to_container(cfg.method, resolve=False))
    unknown = [key for key in cfg.method if f"${{method.{key}}}" not in unresolved]
    assert set(unknown) <= {"plan", "stages", "needs"}, "keys that the method does not have"
    assert recipes.idle(name) == []
    assert recipes.line(recipes.row(name).values()) in PAGE, "run: python -m docs.recipes > docs/recipes.md"


def test_the_table_holds_these_recipes_and_no_others():
    assert recipes.recipes() == PAPERS
    above = recipes.head(len(PAPERS)).splitlines()
    assert PAGE[: len(above)] == above
    below = [*recipes.DIFFERENCES.split("\n"), *recipes.differences()]
    assert PAGE[len(above) + len(PAPERS) :] == below, "run: python -m docs.recipes > docs/recipes.md"


PLANS = {  # recipe -> number of levels, density of the last one
    "turboprune/resnet18_cifar10_imp": (32, 0.8**31),
    "turboprune/resnet18_cifar10_lrr_2024": (25, 0.8**24),
    "turboprune/resnet50_imagenet_erk_then_lrr": (25, 0.2 * 0.8**24),
    "sanity_checks/resnet20_cifar10_imp": (15, 0.8**14),
    "sanity_checks/resnet50_imagenet_imp": (12, 0.8**11),
    "rare_gems/resnet20_cifar10_wr": (20, 0.8**19),
    "rare_gems/resnet20_cifar10_wr_short": (30, 0.8**29),
    "rare_gems/resnet20_cifar10_gem_miner_0.0144": (2, 0.0144),
    "rare_gems/resnet50_caltech101_gem_miner_0.05": (2, 0.05),
    "rare_gems/resnet20_cifar10_warm_gem_miner_0.0144": (3, 0.0144),
    "er_lottery/resnet18_cifar10_er_edge_popup": (5, 0.2),
    "er_lottery/resnet18_cifar10_imp": (17, 0.01),  # 16 = ceil(ln(0.01 / 0.3) / ln 0.8) prunings
    "er_lottery/mlp_acs_employment_lrr": (9, 0.1),
    "er_lottery/mlp_acs_employment_lrr_from_0.5": (5, 0.1),
    "sculpting/resnet18_cifar10_erk": (2, 0.05),
    "rare_gems/conv4_cifar10_edge_popup_0.5": (1, 0.5),
}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "levels", "density"), [(name, *plan) for name, plan in PLANS.items()])
def test_a_plan_has_the_levels_of_its_paper(name: str, levels: int, density: float):
    plan = recipes.plan(recipes.configuration(name))
    assert (len(plan), plan[-1].density) == (levels, pytest.approx(density, rel=1e-9))


@pytest.mark.slow
def test_costs_are_those_of_the_known_networks():
    known = {
        "rare_gems/resnet20_cifar10_wr": 40_551_040,
        "turboprune/resnet18_cifar10_imp": 555_422_720,
        "str/resnet50_imagenet_dense": 4_089_184_256,
    }
    assert {name: recipes.macs(recipes.configuration(name)) for name in known} == known
    levels, epochs, images = 20, 160, 50_000
    assert recipes.cost(recipes.configuration("rare_gems/resnet20_cifar10_wr")) == pytest.approx(
        3 * known["rare_gems/resnet20_cifar10_wr"] * images * epochs * levels, rel=1e-9
    )


# Representatives have, together, every setup of a method, every network with its images, and every training recipe, on
# small networks if possible. Recipes that differ from them only in numbers run the same code. `make test` trains the
# representatives with small networks, `.ci/run` also one recipe for each other choice of options.


@cache
def parts(name: str) -> set[str]:
    """Method, network and training recipe: the groups chosen and the keys set, with numbers left out."""
    files = ({**file, "defaults": None} for file in reversed(recipes.lines(name)))
    body = reduce(merged, files)
    chosen = choices(name)
    rooms = [("method", "support", "sparsity", "prunable"), ("model", "dataset"), ("recipe",)]
    found = set()
    for rooms_of_part in rooms:
        groups = {key: value for key, value in chosen.items() if key.split("/")[0].split("@")[0] in rooms_of_part}
        keys = {key: without_numbers(body[key]) for key in rooms_of_part if key in body and key != "dataset"}
        found.add(json.dumps([groups, keys], sort_keys=True).replace("cifar100", "cifar10"))
    return found


def merged(below: Any, above: Any) -> Any:
    """The keys of two files, those of `above` first."""
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above
    return {key: merged(below.get(key), above[key]) if key in above else below[key] for key in {**below, **above}}


def without_numbers(value: Any) -> Any:
    """A file's keys without `strategy` and those set to numbers; in texts, `5ep` and `20%` become `point`."""
    if isinstance(value, dict):
        return {key: without_numbers(v) for key, v in value.items() if not numeric(v) and key != "strategy"}
    return re.sub(r"\d+(ep|%)", "point", value) if isinstance(value, str) else value


def numeric(value: Any) -> bool:
    several = value if isinstance(value, list) else [value]
    return all(isinstance(v, int | float) and not isinstance(v, bool) for v in several)


CHEAP = (
    "lenet_300_100",
    "resnet20",
    "conv4",
    "mobilenet_v2",
    "wide_resnet_28_2",
    "resnet32",
    "resnet32_double",
    "vgg16",
)


def representatives() -> list[str]:
    """Recipes that cover all parts there are, those of small networks first."""
    seen: set[str] = set()
    chosen = []
    for name in sorted(
        PAPERS, key=lambda name: CHEAP.index(m) if (m := choices(name)["model"]) in CHEAP else len(CHEAP)
    ):
        if parts(name) - seen:
            chosen.append(name)
            seen |= parts(name)
    return chosen


def by_tier() -> list[Any]:
    """A recipe for each choice of options: representatives on small networks are `slow`, the others `engine`.

    Recipes that choose the same options differ in numbers that `shortened` replaces: densities, epochs, rates.
    """
    chosen = [*representatives(), *PAPERS]
    once = {str(sorted(choices(name).items())): name for name in reversed(chosen)}
    slow = {name for name in representatives() if choices(name)["model"] in CHEAP[:3]}
    marks = {name: pytest.mark.slow if name in slow else pytest.mark.engine for name in sorted(once.values())}
    return [pytest.param(name, marks=mark) for name, mark in marks.items()]


@pytest.mark.slow
@pytest.mark.parametrize("name", by_tier(), scope="module")
def test_a_recipe_runs_two_steps_on_images_of_its_shape(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    make_networks_small(name, monkeypatch)
    overrides = f"experiment={name}", *shortened(name, ticket := tmp_path / "given.safetensors")
    if recipes.configuration(name).support.density is None:  # it starts from a ticket
        a_ticket(ticket, configuration(tmp_path, *overrides, small=False))
    assert train(tmp_path, *overrides, small=False) is not None
    shutil.rmtree(tmp_path)  # large networks leave large checkpoints
