"""The parts of an experiment: built once from its configuration, so that mistakes show before training."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf

from lth.callbacks.watch.last_checkpoint import AtomicCheckpointIO
from lth.callbacks.within.at_average import AtAverage
from lth.callbacks.within.ema import EMA
from lth.datamodules.dataset import Dataset
from lth.experiment._checks import (
    check_covered,
    check_dataset,
    check_densities,
    check_last_batch,
    check_level,
    check_module,
    check_outputs,
    check_precision,
    check_pruned_stay_zero,
    check_sync_batchnorm,
    check_trainer,
)
from lth.experiment._given_keys import forced
from lth.experiment._stored_configuration import resolved
from lth.experiment._targets import check_targets
from lth.experiment._unused_keys import check_used
from lth.modules import Recipe
from lth.networks.from_config import build, image_shape
from lth.plan import Level
from lth.pruning import Masks
from lth.pruning.allocation import count_kept
from lth.storage.checkpoint import copy_state_, final_weights, load_checkpoint
from lth.storage.folder import RunFolder
from lth.tickets import Ticket
from lth.training.recipe import LENGTHS
from lth.training.signals import disable_lightning_handlers
from lth.training.step_loop import use_step_loop

_log = logging.getLogger(__name__)
_ONE_FOR_ALL = ("batch_size", "augment")  # options of the datamodule, which all stages share


class Experiment:
    """Network, masks, data and levels of a configuration; builds the module, callbacks and Trainer of each level.

    cfg: the composed configuration
    folder: the run's folder; building writes nothing to it

    Raises ValueError for any error in the configuration.
    """

    def __init__(self, cfg: DictConfig, folder: RunFolder):
        self.folder, self.config = folder, resolved(cfg)
        check_targets(self.config)
        given, cfg = cfg, OmegaConf.create(self.config)  # without interpolations: reading one takes longer than a step
        self.cfg = cfg
        self.recipes = {name: recipe_of(cfg, name) for name in cfg.method.stages}
        for recipe in self.recipes.values():
            check_precision(recipe.precision, cfg.trainer.accelerator)
        check_trainer(self.config["trainer"])
        check_dataset(self.config["dataset"])
        self.image_shape = image_shape(self.config["dataset"])
        self.net = self._network()
        check_outputs(self.net, self.image_shape, self.config["dataset"].get("classes"))
        self.masks = Masks.ones(self.net, cfg.prunable.include, cfg.prunable.exclude)
        if cfg.trainer.get("sync_batchnorm"):
            check_sync_batchnorm(self.net, cfg.trainer.accelerator)
        self.support = _partial(cfg.support.masks)(self.net, self.masks.clone(), cfg.support.density)
        densities = instantiate(_ladder(cfg.sparsity), start=self.support.density)
        check_densities(densities, self.masks.total)
        if min(densities) < 1:
            check_covered(self.net, self.masks, cfg.prunable.exclude)
            check_pruned_stay_zero(self.net, self.masks, self.image_shape)
        self.data: Dataset = instantiate(cfg.dataset)
        self.data.prepare_data()
        self.data.setup("fit")
        self._own_networks: dict[int, Any] = {}  # by level index
        self.levels = self._plan(densities)
        for note in check_used(given, (level.stage for level in self.levels)):
            _log.warning(note)
        for level in {(level.stage, level.budget): level for level in reversed(self.levels)}.values():
            check_module(self.build_level(level)[0], self.image_shape)
        ends: dict[int, Masks] = {}  # level index -> the masks with which it ends, as far as counts are known
        for level in self.levels:
            net, masks, support = self.network_of(level)
            initial_masks = support if level.source is None or net is not self.net else ends[level.source]
            parts = _callbacks(self.cfg, level)
            ends[level.index] = check_level(net, masks, initial_masks, parts, self.data, self.image_shape)
        self.initial = {name: value.clone() for name, value in self.net.state_dict().items()}

    def network_of(self, level: Level) -> tuple[torch.nn.Module, Masks, Masks]:
        """The network that a level trains, its masks and its support: the experiment's, unless the stage has its own.

        A stage's `network` builds one with as many parameters as the experiment's has left at the level's density.
        """
        own = self.cfg.method.stages[level.stage].get("network")
        if not own:
            return self.net, self.masks, self.support
        if level.index not in self._own_networks:
            target = count_kept(level.density, self.masks.total) - self.masks.total
            target += sum(p.numel() for p in self.net.parameters())
            net = _partial(own)(build=self._of_widths, widths=self.config["model"].get("widths"), target=target)
            masks = Masks.ones(net, self.cfg.prunable.include, self.cfg.prunable.exclude)
            self._own_networks[level.index] = net, masks, masks.clone()
        return self._own_networks[level.index]

    def build_level(self, level: Level) -> tuple[Any, list[pl.Callback]]:
        """The level's LightningModule, and the callbacks that its stage of the method lists."""
        stage = self.cfg.method.stages[level.stage]
        net, masks, support = self.network_of(level)
        module = _partial(stage.module)(
            net=net,
            masks=masks,
            support=support,
            recipe=self.recipes[level.stage],
            level=level,
            classes=self.data.classes,
        )
        module.draw = self.draw
        return module, _callbacks(self.cfg, level)

    def load_start(self, level: Level, module: Any) -> None:
        """Give the module's network and masks the values that `level` begins with.

        A level without a source begins with the initial weights and the support, others with what their source left on
        disk: pruning scores those weights, and rewinding then replaces them. The module loads or draws what it trains
        besides (scores). A resumed level does this too, and its checkpoint then replaces everything.
        """
        if level.source is None:
            if module.net is self.net:
                copy_state_(self.net, self.initial)
            module.masks.copy_(module.support)
            module.load_previous(None)
            return
        _take_end(self.levels[level.source].folder, module)

    def trainer(self, level: Level, callbacks: list[Any], loggers: list[Any]) -> pl.Trainer:
        """A fresh Trainer for the level, so that optimizer state and step counts start anew."""
        recipe = self.recipes[level.stage]
        averages: list[pl.Callback] = [AtAverage(level)] if recipe.averages else []
        # a partial, because Hydra would copy all arguments that `instantiate` gets
        trainer = _plain(instantiate(self.cfg.trainer, _partial_=True))(
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
        use_step_loop(trainer)
        disable_lightning_handlers(trainer)
        return trainer

    def provenance(self, level: Level) -> dict[str, Any]:
        """The header of the level's ticket: which run, seeds and level its masks and weights come from."""
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

    def draw(self, seed: int) -> torch.nn.Module:
        """The network with initial weights drawn from `seed`; the global random state stays as it is."""
        with torch.random.fork_rng(devices=[]):
            return build(self.config["model"], seed, pretrained=True)

    def _of_widths(self, widths: Sequence[int]) -> torch.nn.Module:
        return build({**self.config["model"], "widths": list(widths)}, self.cfg.seeds.init, pretrained=True)

    def _network(self) -> torch.nn.Module:
        net = self.draw(self.cfg.seeds.init)
        if self.cfg.channels_last:
            net.to(memory_format=torch.channels_last)
        if self.cfg.compile:
            net.compile()
        return net

    def _plan(self, densities: list[float]) -> list[Level]:
        steps = _batches_of_epoch(self.data.steps_per_epoch, self.cfg.trainer.get("limit_train_batches"))
        check_last_batch(self.net, self.image_shape, self.data, self.config["trainer"], steps)
        budgets = {stage: recipe.budget(-(-steps // recipe.accumulate)) for stage, recipe in self.recipes.items()}
        return instantiate(self.cfg.method.plan)(densities, self.folder.path, budgets)


def _partial(part: DictConfig) -> Callable[..., Any]:
    """Build the callable that a part with `_partial_: true` describes, from plain `functools.partial` objects.

    Hydra's own class checks its target and its result at every call. That took 0.3 ms, and 3 ms for a result that is a
    dict, on a busy CPU.
    """
    return _plain(instantiate(part))


def _plain(value: Any) -> Any:
    if isinstance(value, partial):
        return partial(value.func, *map(_plain, value.args), **{k: _plain(v) for k, v in value.keywords.items()})
    return value


def _ladder(sparsity: DictConfig) -> DictConfig:
    """The ladder's configuration without keys that `++` adds for other methods of a sweep and that it does not take."""
    taken, added = signature(get_object(sparsity._target_)).parameters, forced()
    keys = [str(key) for key in sparsity]
    kept = [key for key in keys if key in taken or f"sparsity.{key}" not in added or key == "_target_"]
    return sparsity if kept == keys else OmegaConf.masked_copy(sparsity, kept)


def recipe_of(cfg: DictConfig, stage: str) -> Recipe:
    """The experiment's recipe, with the fields that a stage of the method sets itself (null = the experiment's)."""
    own = cfg.method.stages[stage].get("recipe") or {}
    fields = {key: value for key, value in own.items() if value is not None}
    shared = [key for key in fields if key in _ONE_FOR_ALL]
    unknown = [key for key in fields if key not in cfg.recipe]
    if shared or unknown:
        raise ValueError(
            f"the recipe of stage {stage!r} sets {shared}, which all stages share, or unknown keys {unknown}"
        )
    if set(LENGTHS) & set(fields):
        fields = {**dict.fromkeys(LENGTHS), **fields}
    recipe: Recipe = instantiate(OmegaConf.create({**cfg.recipe, **fields}))
    return recipe


def _callbacks(cfg: DictConfig, level: Level) -> list[pl.Callback]:
    """The callbacks of the level's stage, in the order of the method's file."""
    parts, where = cfg.method.stages[level.stage].callbacks, f"method.stages.{level.stage}.callbacks"
    return [_callback(f"{where}.{name}", part, level) for name, part in parts.items() if part]


def _callback(key: str, part: DictConfig, level: Level) -> pl.Callback:
    """The callback that a part of a method describes. Raises ValueError naming the key where it describes none."""
    if "_target_" not in part:
        raise ValueError(f"{key} has no _target_: it must name a callback, with _partial_: true")
    try:
        callback = _partial(part)(level=level)
    except TypeError as error:
        raise ValueError(f"{key} cannot be built for a level (has it _partial_: true?): {error}") from error
    if not isinstance(callback, pl.Callback):
        raise ValueError(f"{key} makes a {type(callback).__name__}, which is no callback of pytorch_lightning")
    return callback


def _take_end(folder: Path, module: Any) -> None:
    """Give a module the weights and masks with which the level of `folder` ended."""
    previous = load_checkpoint(folder / "last.ckpt")
    copy_state_(module.net, final_weights(previous))
    module.masks.copy_(previous["masks"])
    module.missing_weights = _missing_weights(folder / "ticket.safetensors")
    module.load_previous(previous)


def _missing_weights(path: Path) -> str:
    """Name of the file with the starting weights of pruned places, if the run began without them; else ""."""
    try:
        header = Ticket.load(path, weights=False).header
    except (ValueError, FileNotFoundError):  # damaged: no level is trained from it
        return ""
    return str(header["starting_weights"]) if header.get("stored_weights") == "kept" else ""


def _batches_of_epoch(count: int, limit: int | float | None) -> int:
    """Training batches of an epoch, as Lightning counts them under `trainer.limit_train_batches`.

    count: batches of the whole training set
    limit: at most so many batches, an int; or a fraction of them, a float in (0, 1]; None = all
    """
    if limit is None:
        return count
    whole = isinstance(limit, int) and limit >= 1
    if not whole and not (isinstance(limit, float) and 0 < limit <= 1 and int(count * limit) >= 1):
        raise ValueError(
            f"trainer.limit_train_batches={limit} must be a whole number of batches from 1 on, or a fraction up to 1.0 "
            f"that leaves at least one of the {count} batches of an epoch"
        )
    return min(count, int(limit)) if whole else int(count * limit)
