"""Published recipes with their numbers cut: small networks, two levels of two steps of two images."""

import re
import sys
from collections.abc import Iterator, Sequence
from functools import cache, partial, update_wrapper
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf
from torch import nn
from torchvision import models
from torchvision.models._api import BUILTIN_MODELS

from docs import recipes
from lth.networks import mobilenet, vgg
from lth.networks._residual import Stages
from lth.networks.wide_resnet import WideResNet

# network of a library -> the override that makes it narrower
_NARROWER = {
    "resnet50": "model.options={width_per_group: 16}",
    "resnet50.tv_in1k": "+model.options.channels=[16,32,64,128]",
    "deit_small_patch16_224": "model.options={embed_dim: 48, depth: 4, num_heads: 3}",
}


def make_networks_small(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Build networks a quarter as wide, with two residual blocks a stage; two of torchvision's become narrower too.

    name: a recipe; residual networks keep their depth if its method names a later block

    tests/networks has the networks at their size.
    """
    deep = re.search(r"layer\d+\.([2-9]|\d\d)", str(recipes.configuration(name).method))
    # `from lth.networks import` gives functions of the same names, so modules are looked up in sys.modules
    for module in ("lth.networks.resnet", "lth.networks.cifar_resnet"):
        monkeypatch.setattr(sys.modules[module], "Stages", partial(_small_stages, None if deep else 2))
    monkeypatch.setattr(sys.modules["lth.networks.wide_resnet"], "WideResNet", _small_wide_resnet)
    monkeypatch.setattr(vgg, "WIDTHS", tuple(width // 4 for width in vgg.WIDTHS))
    inverted = tuple((expansion, width // 4, *rest) for expansion, width, *rest in mobilenet._INVERTED)
    monkeypatch.setattr(mobilenet, "_INVERTED", inverted)
    monkeypatch.setattr(mobilenet, "_SEPARABLE", tuple((width // 4, stride) for width, stride in mobilenet._SEPARABLE))
    builders = {"wide_resnet50_2": partial(models.resnet50, width_per_group=16), "alexnet": partial(_small_alexnet)}
    for model, build in builders.items():
        # torchvision lists builders by the module that they name
        monkeypatch.setitem(BUILTIN_MODELS, model, update_wrapper(build, BUILTIN_MODELS[model]))


def _small_stages(blocks: int | None, block: type[nn.Module], depths: Sequence[int], widths: Sequence[int]) -> Stages:
    return Stages(block, [min(blocks or depth, depth) for depth in depths], [width // 4 for width in widths])


def _small_wide_resnet(blocks: int, width: int, *others: Any) -> WideResNet:
    return WideResNet(min(2, blocks), 1, *others)


def _small_alexnet(num_classes: int) -> nn.Module:
    """AlexNet with 64 hidden units instead of 4096."""
    net = models.AlexNet(1)
    net.classifier[1], net.classifier[4], net.classifier[6] = (
        nn.Linear(inputs, outputs) for inputs, outputs in ((9216, 64), (64, 64), (64, num_classes))
    )
    return net


@cache
def choices(name: str) -> dict[str, str]:
    """The groups a recipe chooses, itself or in the files it builds on."""
    chosen: dict[str, str] = {}
    for file in reversed(recipes.lines(name)):
        for entry in file.get("defaults", []):
            chosen |= entry if isinstance(entry, dict) else {}
    return {key.removeprefix("override ").removeprefix("/"): value for key, value in chosen.items()}


def shortened(name: str, ticket: Path) -> Iterator[str]:
    """Overrides that leave a recipe's choices alone and cut its numbers: two levels of two steps of two images.

    Images have their size up to 64 pixels, or any size that a transformer's name fixes. Networks for ImageNet keep
    their stem. There are at most 100 classes.
    """
    cfg, chosen = recipes.configuration(name), choices(name)
    large = chosen["dataset"] == "imagenet"
    usual = {"imagenet": "imagenet", "mnist": "mnist"}.get(chosen["dataset"], "cifar")
    samples = cfg.method.get("criterion", {}).get("samples_per_class")
    yield from ("dataset=synthetic", "dataset.train_size=16", "dataset.test_size=4", "dataset.val_size=0")
    yield from (
        f"recipe={usual}",
        f"recipe/augment={'classic' if large else cfg.hydra.runtime.choices['recipe/augment']}",
    )
    yield f"dataset.channels={cfg.dataset.channels}"
    yield f"dataset.classes={4 if samples else min(100, cfg.dataset.classes)}"
    fixed = "patch16" in cfg.model.get("name", "")  # a transformer's size, by its name
    yield f"dataset.image_size={cfg.dataset.image_size if fixed else min(64, cfg.dataset.image_size)}"
    yield from ("recipe.epochs=null", "recipe.steps=2", "recipe.batch_size=2", "recipe.precision=32-true")
    yield from ("trainer=cpu", "threads=1", f"ticket={ticket}")
    if cfg.model.get("name") in _NARROWER:
        yield _NARROWER[cfg.model.name]
    if large and "stem" in cfg.model:
        yield "model.stem=imagenet"
    if cfg.model.get("pretrained"):
        yield "model.pretrained=false"
    yield from (f"{key}={value}" for key, value in _shorter(cfg).items())


def _shorter(cfg: Any) -> dict[str, Any]:
    """Numbers of method and ladder that would not fit into two steps."""
    method, sparsity, short = cfg.method, cfg.sparsity, {}
    if sparsity._target_.endswith("geometric"):
        short |= {"sparsity.density": "null", "sparsity.rate": 0.5, "sparsity.levels": 1}
    if sparsity._target_.endswith("annealed"):
        short["sparsity.levels"] = 2
    if method.get("period"):  # an event needs two epochs of 8 steps
        short |= {"method.period": 1, "recipe.steps": 16}
    points = {"every": 1, "prune_begin": 0, "prune_end": 2, "stop": 2, "start": -3, "warm": 1, "rewind": 1}
    short |= {f"method.{key}": value for key, value in points.items() if method.get(key)}
    if cfg.recipe.cycles.n > 1:
        short |= {"recipe.cycles.n": 2, "recipe.steps": 3}  # of two steps, one strategy or the other gives a cycle none
    own = [key for key in method if key.endswith("_recipe") and method[key].get("epochs")]
    short |= {f"method.{key}.epochs": "null" for key in own}
    mappings = [key for key in method if isinstance(method[key], DictConfig)]
    warm = [key for key in mappings if OmegaConf.select(method[key], "schedule.warmup")]
    short |= {f"method.{key}.schedule.warmup": 0 for key in warm}
    if cfg.recipe.schedule.get("warmup"):
        short["recipe.schedule.warmup"] = 0
    for name, rule in (method.get("rules") or {}).items():  # windows that fire at once
        if rule is not None and rule.get("at") is None:
            short |= {f"method.rules.{name}.begin": 0, f"method.rules.{name}.stop": 1}
    if method.get("rounds", 1) > 1:
        short["method.rounds"] = 2
    for key, few in (("samples_per_class", 1), ("sets", 1)):
        if method.get("criterion", {}).get(key):
            short[f"method.criterion.{key}"] = few
    return short
