"""The table of published recipes, from the files themselves: python -m docs.recipes > docs/recipes.md."""

import json
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import torch
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch.utils.flop_counter import FlopCounterMode

from lth.cli.run import register_resolvers
from lth.experiment._given_keys import in_experiment
from lth.experiment._unused_keys import unused
from lth.experiment.build import recipe_of
from lth.plan import Level
from lth.report._cost import images_of_training

CONF = Path(__file__).parent.parent / "conf"
RATE = 1e13  # multiply-adds a second: an assumption, not a measurement
IMAGES = {  # of the training part
    "MNIST": 60_000,
    "FashionMNIST": 60_000,
    "CIFAR10": 50_000,
    "CIFAR100": 50_000,
    "SVHN": 73_257,
    "TinyImageNet": 100_000,
    "ImageNet": 1_281_167,
    "Caltech101": 6_942,  # what its test set leaves
    "ACSEmployment": 38_200,  # about; the same
}
DIFFERENCES = """
## What differs from the published runs

The known differences between a recipe and the run that gave its number, with the reasons, from `published.differs` of
its file. Recipes without an entry have no known difference. [fidelity.md](fidelity.md) says what was compared.
"""
COLUMNS = (
    *("paper", "experiment", "method", "network", "dataset", "density"),
    *("expected", "confidence", "multiply-adds", "hours"),
)
HEAD = f"""# Published recipes

This page lists every recipe that a paper or its code states and whose parts exist here.
`lth run experiment=<paper>/<name>` runs one. Where recipes differ in density, seed or one choice only, the first
lines of one file name the others. `python -m docs.recipes > docs/recipes.md` makes this page from `conf/experiment`.
Experiments once had other names: [renamed_experiments.md](renamed_experiments.md) lists both.

- **expected**: test accuracy as published, quoted; nothing here was measured by this project.
- **confidence**: how well the number is documented, or the recipe where there is none: *high*: in released
  configurations, result files or a public page; *medium*: read off a figure, or comments of released code, or only part
  of the recipe; *low*: from memory or from an unpublished version. Do not compare results with those.
- **multiply-adds**: of training, 3 x those of a dense forward pass x images x epochs x levels; masks save nothing here.
  A report counts those of kept weights.
  Scoring, validation and testing are left out.
- **hours**: those multiply-adds at {RATE:.0e} a second, which is an assumption about a GPU; small networks reach
  less of it than large ones.
"""


def recipes() -> list[str]:
    """The names (`<paper>/<file>`) of the experiments that say what was published, found by globbing."""
    files = (CONF / "experiment").glob("*/[!_]*.yaml")
    names = sorted(file.relative_to(CONF / "experiment").as_posix().removesuffix(".yaml") for file in files)
    return [name for name in names if block(name)]


@cache
def lines(name: str) -> tuple[Any, ...]:
    """An experiment's file, then those it builds on, as plain data; of several that set a key, the first holds."""
    text = yaml.safe_load((CONF / "experiment" / f"{name}.yaml").read_text())
    above = [e.removeprefix("/experiment/") for e in text.get("defaults", []) if isinstance(e, str)]
    return (text, *(file for parent in reversed(above) for file in lines(parent)))


def block(name: str) -> dict[str, Any]:
    """What an experiment says was published, with what it inherits; empty when it says nothing."""
    merged = OmegaConf.merge(*(file.get("published") or {} for file in reversed(lines(name))))
    published: Any = OmegaConf.to_container(merged)
    if "differs" in published:  # null removes an inherited sentence
        published["differs"] = {key: said for key, said in published["differs"].items() if said is not None}
    return published


@cache
def configuration(name: str, *overrides: str) -> DictConfig:
    """The composed configuration of an experiment, Hydra's own node included (it knows the choices)."""
    register_resolvers()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        chosen = [f"experiment={name}", "folder=unused", *overrides]
        return compose("config", overrides=chosen, return_hydra_config=True)


def images(cfg: DictConfig) -> int:
    """Training images, less what is held out for validation."""
    size = cfg.dataset.get("train_count") or IMAGES[cfg.dataset._target_.rpartition(".")[2]]
    return images_of_training(cfg.dataset, size)


def plan(cfg: DictConfig) -> list[Level]:
    """The levels of an experiment, from its configuration alone."""
    per_epoch = -(-images(cfg) // cfg.recipe.batch_size)
    budgets = {stage: recipe_of(cfg, stage).budget(per_epoch) for stage in cfg.method.stages}
    start = 1.0 if cfg.support.density is None else cfg.support.density  # a ticket's own is not known here
    densities = instantiate(cfg.sparsity, start=start)
    levels: list[Level] = instantiate(cfg.method.plan)(densities, Path("unused"), budgets)
    return levels


def idle(name: str) -> list[str]:
    """What an experiment's files set that no stage of its run reads, each in a sentence."""

    def read(file: str) -> Any:
        return yaml.safe_load((CONF / f"{file}.yaml").read_text()) or {}

    cfg = configuration(name)
    return [said for _, said in unused(cfg, [level.stage for level in plan(cfg)], in_experiment(name, read))]


def macs(cfg: DictConfig) -> int:
    """Multiply-adds of a dense forward pass of one image; nothing is computed, shapes suffice."""
    model: Any = OmegaConf.to_container(cfg.model, resolve=True)
    if "pretrained" in model:
        model["pretrained"] = False  # shapes suffice: nothing is downloaded
    return _macs(json.dumps(model), cfg.dataset.channels, cfg.dataset.image_size)


@cache
def _macs(model: str, channels: int, size: int) -> int:
    with torch.device("meta"), FlopCounterMode(display=False) as counter, torch.no_grad():
        instantiate(json.loads(model)).eval()(torch.empty(1, channels, size, size))
    return int(counter.get_total_flops()) // 2


def cost(cfg: DictConfig) -> float:
    """Multiply-adds of training all levels: forward, and twice that for backward."""
    steps = sum(level.steps / level.budget.epoch for level in plan(cfg))
    return 3 * macs(cfg) * images(cfg) * steps


def row(name: str) -> dict[str, str]:
    """A recipe's line of the table."""
    cfg, published = configuration(name), block(name)
    total = cost(cfg)
    return {
        "paper": published["paper"],
        "experiment": f"[`{name}`](../conf/experiment/{name}.yaml)",
        "method": method(name, cfg),
        "network": network(cfg),
        "dataset": cfg.hydra.runtime.choices.dataset,
        "density": density(plan(cfg), cfg),
        "expected": f"{published['expected']} ({published['where']})",
        "confidence": published["confidence"],
        "multiply-adds": f"{total:.1e}",
        "hours": f"{total / RATE / 3600:.3g}",
    }


def method(name: str, cfg: DictConfig) -> str:
    """The method, and the parts the experiment has put in it."""
    chosen = (
        re.match(r"override /(?:method/(\w+)|(support))$", key) for file in lines(name) for key in _overrides(file)
    )
    parts = sorted({next(filter(None, match.groups())) for match in chosen if match})
    choices = cfg.hydra.runtime.choices
    said = [f"{part}={choices['support' if part == 'support' else f'method/{part}']}" for part in parts]
    return ", ".join([choices.method, *said])


def _overrides(file: dict[str, Any]) -> list[str]:
    return [key for entry in file.get("defaults", []) if isinstance(entry, dict) for key in entry]


def network(cfg: DictConfig) -> str:
    """The network, by its name in its library or with its sizes where it has no name of its own."""
    model = cfg.model
    if "name" in model:
        return str(model.name)
    sizes = [f"{key}={model[key]}" for key in ("depth", "width", "widths") if key in model]
    return " ".join([model._target_.rpartition(".")[2], *sizes])


def density(levels: list[Level], cfg: DictConfig) -> str:
    """The final density, and how many levels lead there; `emerges` where no ladder gives it, or a ticket's."""
    if cfg.sparsity._target_.endswith("unpruned") and cfg.method.plan._target_.endswith(("search", "in_turn")):
        return "emerges"
    if cfg.support.density is None:
        return "the ticket's"
    several = f" ({len(levels)} levels)" if len(levels) > 1 else ""
    return f"{levels[-1].density:.3g}{several}"


def line(cells: Iterable[str]) -> str:
    """A line of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def head(count: int) -> str:
    """What stands over the table's `count` rows."""
    rule = ["---"] * (len(COLUMNS) - 2) + ["--:"] * 2
    return "\n".join([HEAD, f"{count} experiments.", "", line(COLUMNS), line(rule)])


def table() -> str:
    """docs/recipes.md."""
    names = sorted(recipes(), key=lambda name: (block(name)["paper"], name))
    rows = [line(row(name).values()) for name in names]
    return "\n".join([head(len(names)), *rows, DIFFERENCES, *differences()]) + "\n"


def differences() -> list[str]:
    """The lines of the page's second part: recipes that differ in the same, then in what."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for name in recipes():
        if differs := tuple(block(name).get("differs", {}).values()):
            groups.setdefault(differs, []).append(name)
    named = [(", ".join(f"`{name}`" for name in names), differs) for differs, names in groups.items()]
    return [text for names, differs in named for text in (f"* {names}", *(f"  * {one}" for one in differs))]


if __name__ == "__main__":
    print(table(), end="")
