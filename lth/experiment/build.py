"""The parts of an experiment: built once from its configuration, so that mistakes show before training."""

from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from lth.callbacks.watch.last_checkpoint import AtomicCheckpointIO
from lth.callbacks.within.at_average import AtAverage
from lth.callbacks.within.ema import EMA
from lth.modules import Recipe
from lth.plan import Level
from lth.pruning import Masks
from lth.pruning.allocation import count_kept
from lth.pruning.seeds import derive
from lth.pruning.standardised import changed_before_use
from lth.storage.checkpoint import copy_state_, load_checkpoint
from lth.storage.folder import RunFolder
from lth.training.recipe import LENGTHS
from lth.training.signals import answer_for

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed", "64-true")
ONE_FOR_ALL = ("batch_size", "augment")  # the datamodule's, which serves every stage


class Experiment:
    """Network, masks, data and plan of a configuration; module, callbacks and Trainer of each of its levels.

    Everything wrong with the configuration raises ValueError here.
    """

    def __init__(self, cfg: DictConfig, folder: RunFolder):
        self.cfg, self.folder = cfg, folder
        self.config: Any = OmegaConf.to_container(cfg, resolve=True)
        self.recipes = {name: recipe_of(cfg, name) for name in cfg.method.stages}
        for recipe in self.recipes.values():
            check_precision(recipe.precision, cfg.trainer.accelerator)
        self.net = self._network()
        self.masks = Masks.ones(self.net, cfg.prunable.include, cfg.prunable.exclude)
        if cfg.trainer.get("sync_batchnorm"):
            check_sync_batchnorm(self.net, cfg.trainer.accelerator)
        self.support = instantiate(cfg.support.masks)(self.net, self.masks.clone(), cfg.support.density)
        densities = instantiate(cfg.sparsity, start=self.support.density)
        refuse_empty(densities, self.masks.total)
        if min(densities) < 1:
            refuse_changed(self.net, self.masks, self.image_shape)
        self.data: pl.LightningDataModule = instantiate(cfg.dataset)
        self.data.prepare_data()
        self.data.setup("fit")
        self._small: dict[int, Any] = {}
        self.levels = self._plan(densities)
        for level in {(level.stage, level.budget): level for level in reversed(self.levels)}.values():
            self.parts(level)
        for level in self.levels:
            self._check(level)
        self.initial = {name: value.clone() for name, value in self.net.state_dict().items()}

    def subject(self, level: Level) -> tuple[torch.nn.Module, Masks, Masks]:
        """The network a level trains, its masks and its support: the experiment's, unless the stage has its own."""
        own = self.cfg.method.stages[level.stage].get("network")
        if not own:
            return self.net, self.masks, self.support
        if level.index not in self._small:
            torch.manual_seed(derive("init", self.cfg.seeds.init))
            target = count_kept(level.density, self.masks.total) - self.masks.total
            target += sum(p.numel() for p in self.net.parameters())
            net = instantiate(own)(build=self._of_widths, widths=self.cfg.model.get("widths"), target=target)
            masks = Masks.ones(net, self.cfg.prunable.include, self.cfg.prunable.exclude)
            self._small[level.index] = net, masks, masks.clone()
        return self._small[level.index]

    def parts(self, level: Level) -> tuple[Any, list[pl.Callback]]:
        """The level's LightningModule and the callbacks of its boundary."""
        stage = self.cfg.method.stages[level.stage]
        net, masks, support = self.subject(level)
        module = instantiate(stage.module)(
            net=net,
            masks=masks,
            support=support,
            recipe=self.recipes[level.stage],
            level=level,
            classes=self.data.classes,
        )
        module.draw = self.draw
        return module, self._boundary(level)

    def start_from(self, level: Level, module: Any) -> None:
        """Give network and masks the values a level begins with: the initial ones, or what the level before left.

        `module` then takes from the level before, or draws, what it trains besides.
        """
        if level.source is None:
            if module.net is self.net:
                copy_state_(self.net, self.initial)
            module.masks.copy_(module.support)
            module.load_previous(None)
            return
        before = load_checkpoint(self.levels[level.source].folder / "last.ckpt")
        weights = {k.removeprefix("net."): v for k, v in before["state_dict"].items() if k.startswith("net.")}
        copy_state_(self.net, weights | before["found"])
        self.masks.copy_(before["masks"])
        module.load_previous(before)

    def trainer(self, level: Level, callbacks: list[Any], loggers: list[Any]) -> pl.Trainer:
        """A fresh Trainer for the level: optimizer, schedule and best value are fresh by construction."""
        recipe = self.recipes[level.stage]
        averages: list[pl.Callback] = [AtAverage(level)] if recipe.averages else []
        trainer = instantiate(
            self.cfg.trainer,
            callbacks=[*averages, *callbacks, *([EMA(recipe.ema)] if recipe.ema else [])],
            logger=loggers or False,
            max_epochs=-1,
            max_steps=level.steps,
            precision=recipe.precision,
            gradient_clip_val=recipe.clip,
            accumulate_grad_batches=recipe.accumulate,
            plugins=[AtomicCheckpointIO()],
            default_root_dir=str(level.folder),
        )
        answer_for(trainer)
        return trainer

    def provenance(self, level: Level) -> dict[str, Any]:
        """The header of the level's ticket: where its masks and weights come from."""
        parent = self.levels[level.source].folder.name if level.source is not None else None
        return {
            **self.config["choices"],
            "network": self.config["model"],
            "seeds": self.config["seeds"],
            "level": level.index,
            "name": level.name,
            "target_density": level.density,
            "parent": parent,
        }

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one image."""
        size = self.config["dataset"]["image_size"]
        height, width = (size, size) if isinstance(size, int) else size
        return self.config["dataset"]["channels"], height, width

    def draw(self, seed: int) -> torch.nn.Module:
        """The network with initial weights drawn from `seed`."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive("init", seed))
            return instantiate(self.cfg.model)

    def _boundary(self, level: Level) -> list[pl.Callback]:
        callbacks = self.cfg.method.stages[level.stage].callbacks.values()
        return [instantiate(callback)(level=level) for callback in callbacks if callback]

    def _check(self, level: Level) -> None:
        """Refuse before any training what a boundary can tell to be impossible: counts out of reach, wrong tickets."""
        net, masks, support = self.subject(level)
        for callback in self._boundary(level):
            if hasattr(callback, "check"):
                callback.check(support)
            if hasattr(callback, "check_network"):
                callback.check_network(net, masks, self.image_shape)

    def _of_widths(self, widths: Sequence[int]) -> torch.nn.Module:
        return instantiate(self.cfg.model, widths=list(widths))

    def _network(self) -> torch.nn.Module:
        net = self.draw(self.cfg.seeds.init)
        if self.cfg.channels_last:
            net.to(memory_format=torch.channels_last)
        if self.cfg.compile:
            net.compile()
        return net

    def _plan(self, densities: list[float]) -> list[Level]:
        budgets = {}
        for stage, recipe in self.recipes.items():
            epoch = -(-self.data.steps_per_epoch // recipe.accumulate)
            budgets[stage] = recipe.budget(epoch)
        return instantiate(self.cfg.method.plan)(densities, self.folder.path, budgets)


def recipe_of(cfg: DictConfig, stage: str) -> Recipe:
    """The experiment's recipe, with the fields that a stage of the method sets for itself (null = the experiment's)."""
    own = cfg.method.stages[stage].get("recipe") or {}
    fields = {key: value for key, value in own.items() if value is not None}
    shared = [key for key in fields if key in ONE_FOR_ALL]
    unknown = [key for key in fields if key not in cfg.recipe]
    if shared or unknown:
        raise ValueError(f"the recipe of stage {stage!r} cannot set {shared}, and there is no {unknown}")
    if set(LENGTHS) & set(fields):
        fields = {**dict.fromkeys(LENGTHS), **fields}
    recipe: Recipe = instantiate(OmegaConf.create({**cfg.recipe, **fields}))
    return recipe


def check_precision(precision: str, accelerator: str) -> None:
    """Refuse a precision the device lacks, where Lightning would warn and take another."""
    if precision not in PRECISIONS:
        raise ValueError(f"recipe.precision {precision!r} is not one of {PRECISIONS}")
    cpu = accelerator == "cpu" or (accelerator == "auto" and not torch.cuda.is_available())
    if precision == "16-mixed" and cpu:
        raise ValueError("recipe.precision=16-mixed needs a GPU; on the CPU use 32-true or bf16-mixed")
    if precision == "bf16-mixed" and not cpu and not torch.cuda.is_bf16_supported():
        raise ValueError("recipe.precision=bf16-mixed: this GPU lacks bfloat16; use 16-mixed or 32-true")


def check_sync_batchnorm(net: torch.nn.Module, accelerator: str) -> None:
    """Refuse to synchronise batch norm where torch cannot, or where its conversion would lose what a subclass adds."""
    plain = torch.nn.BatchNorm1d, torch.nn.BatchNorm2d, torch.nn.BatchNorm3d, torch.nn.SyncBatchNorm
    norms = [module for module in net.modules() if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)]
    other = sorted({type(module).__name__ for module in norms} - {kind.__name__ for kind in plain})
    if norms and accelerator == "cpu":
        raise ValueError("trainer.sync_batchnorm=true works on GPUs only; on CPU ranks each has statistics of its own")
    if other:
        raise ValueError(f"trainer.sync_batchnorm=true would make plain batch norm of this network's {other}")


def refuse_empty(densities: list[float], total: int) -> None:
    """A density may round to no weight at all."""
    for density in densities:
        if count_kept(density, total) == 0:
            raise ValueError(f"density {density} keeps none of the {total} prunable weights")


def refuse_changed(net: torch.nn.Module, masks: Masks, image_shape: tuple[int, int, int]) -> None:
    """Refuse a network in which pruned weights would not stay zero."""
    names = changed_before_use(net, masks, image_shape)
    if names:
        raise ValueError(
            f"this network standardises, or otherwise changes, {len(names)} of its {len(masks)} prunable weights "
            f"before it multiplies by them, so that pruned ones would act again: {', '.join(names[:3])}, ... Take a "
            "network without weight standardisation, or leave those weights dense: prunable.exclude=[...]"
        )
