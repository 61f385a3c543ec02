"""The level loop: one fresh Trainer a level, everything between levels on disk, so that running again is resuming."""

import logging
import warnings
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from rich.console import Console

from lth import results
from lth.callbacks.checkpoint import AtomicCheckpointIO, LastCheckpoint, load_checkpoint
from lth.callbacks.curves import Curves
from lth.callbacks.ema import EMA
from lth.callbacks.guard import StopOnNonFinite
from lth.callbacks.keep_ticket import KeepTicket
from lth.callbacks.layer_report import LayerReport
from lth.callbacks.progress import ShowProgress
from lth.callbacks.rewind import copy_state_
from lth.folder import RunFolder
from lth.modules import Recipe
from lth.modules.ranks import assert_same
from lth.plan import Budget, Level
from lth.pruning import Masks
from lth.pruning.allocation import count_kept
from lth.pruning.layers import layer_table
from lth.pruning.masks import fingerprint
from lth.pruning.seeds import derive
from lth.record import environment

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed", "64-true")


def run(cfg: DictConfig) -> float | None:
    """Run, or go on with, the experiment that `cfg` describes. Returns the last level's accuracy.

    Everything that can be wrong with the configuration raises ValueError before any training.
    """
    quiet_lightning()
    if cfg.threads:
        torch.set_num_threads(cfg.threads)
    folder = RunFolder(cfg.folder)
    if rank_zero_only.rank:  # ranks other than 0 join a run that rank 0 has claimed
        return Experiment(cfg, folder).train()
    experiment = Experiment(cfg, folder)  # first, so that a mistake leaves no folder behind
    with folder.locked():
        folder.claim(experiment.config, environment(), overwrite=cfg.overwrite)
        return experiment.train()


class Experiment:
    """The parts of an experiment, built once from the configuration and reused by all levels."""

    def __init__(self, cfg: DictConfig, folder: RunFolder):
        self.cfg, self.folder = cfg, folder
        self.config: Any = OmegaConf.to_container(cfg, resolve=True)
        self.recipe: Recipe = instantiate(cfg.recipe)
        check_precision(self.recipe.precision, cfg.trainer.accelerator)
        self.net = self._network()
        self.masks = Masks.ones(self.net, cfg.prunable.include, cfg.prunable.exclude)
        self.support = instantiate(cfg.support.masks)(self.net, self.masks.clone(), cfg.support.density)
        densities = instantiate(cfg.sparsity, start=self.support.density)
        refuse_empty(densities, self.masks.total)
        self.data: pl.LightningDataModule = instantiate(cfg.dataset)
        self.data.prepare_data()
        self.data.setup("fit")
        self.levels = self._plan(densities)
        self._parts(self.levels[0])  # what a level needs is built once here, so that mistakes show before training
        self.initial = {name: value.clone() for name, value in self.net.state_dict().items()}
        self.console = Console()

    def train(self) -> float | None:
        """Train what is not finished; write the tables; return the last level's accuracy."""
        progress = ShowProgress(self.levels, self.console)
        loggers = [instantiate(logger) for logger in (self.cfg.logger or {}).values()]
        for logger in loggers:
            logger.log_hyperparams(self.config)
        outcomes = []
        self._say_what_is_finished()
        try:
            for level in self.levels:
                outcome = self.folder.finished(level.folder)
                outcomes.append(outcome or self._train(level, loggers, progress))
                if outcome is None:
                    self._publish(level, outcomes, loggers)
        finally:
            progress.close()
            for logger in loggers:
                getattr(logger, "close", lambda: None)()
        return self._report(outcomes)

    def _train(self, level: Level, loggers: list[Any], progress: ShowProgress) -> dict[str, Any]:
        module, boundary = self._parts(level)
        self._start_from(level)
        self.data.level = level.index
        progress.begin(level)
        offset = sum(before.steps for before in self.levels[: level.index])
        curves, ticket = Curves(level, offset), KeepTicket(level, self._provenance(level))
        last = level.folder / "last.ckpt"
        saving = LastCheckpoint(last, level.steps, self.cfg.checkpoint_seconds)
        watching = [StopOnNonFinite(level), curves, progress, saving]
        layers = LayerReport(level, self.image_shape, self.console, self.cfg.allow_dead)
        trainer = self._trainer(level, [*boundary, layers, ticket, *self._averaging(), *watching], loggers)
        if last.is_file() and trainer.is_global_zero:
            self.console.print(f"resuming level {level.index} from its last checkpoint")
        trainer.fit(module, datamodule=self.data, ckpt_path=last if last.is_file() else None)
        if trainer.global_step != level.steps:
            raise KeyboardInterrupt(f"level {level.index} stopped at step {trainer.global_step} of {level.steps}")
        assert_same("weights after training", fingerprint(dict(self.net.named_parameters())))
        row = self._row(level, trainer, module, curves)
        outcome = {"row": row, "layers": layer_table(self.net, self.masks, self.image_shape)}
        if trainer.is_global_zero:
            ticket.complete(self.masks.bools(), {k: row[k] for k in ("test_accuracy", "val_accuracy") if k in row})
            self.folder.finish(level.folder, outcome)
        trainer.strategy.barrier()
        return outcome

    def _row(self, level: Level, trainer: pl.Trainer, module: Any, curves: Curves) -> dict[str, Any]:
        """The level's line in results.csv: last epoch's training and validation, best validation, test read once."""
        if "val_loss" not in curves.last and self.data.val_dataloader():
            trainer.validate(module, datamodule=self.data, verbose=False)  # a level that ended within an epoch
            curves.last |= module.validated
        trainer.test(module, datamodule=self.data, verbose=False)
        best = {f"best_{name}": value for name, value in curves.best.items()}
        kept = self.masks.kept
        return {
            "level": level.index,
            "name": level.name,
            "density": kept / self.masks.total,
            "target_density": level.density,
            "kept": kept,
            "epochs": level.steps / level.budget.epoch,
            "steps": level.steps,
            **curves.last,
            **best,
            **module.tested,
            "seconds": curves.seconds,
        }

    def _publish(self, level: Level, outcomes: list[dict[str, Any]], loggers: list[Any]) -> None:
        if rank_zero_only.rank:
            return
        results.write_tables(self.folder.path, outcomes)
        for logger in loggers:
            if hasattr(logger, "log_level"):
                logger.log_level(outcomes[-1]["row"], outcomes[-1]["layers"], level.folder / "ticket.safetensors")
        if not self.console.is_terminal:
            row = outcomes[-1]["row"]
            self.console.print(
                f"level {level.index} ({level.index + 1}/{len(self.levels)})  density {row['density']:.4f}  "
                f"test accuracy {row['test_accuracy']:.4f}  {row['seconds']:.1f} s"
            )

    def _say_what_is_finished(self) -> None:
        done = sum(self.folder.finished(level.folder) is not None for level in self.levels)
        if done and not rank_zero_only.rank:
            self.console.print(f"{done} of {len(self.levels)} levels are finished already")

    def _report(self, outcomes: list[dict[str, Any]]) -> float | None:
        rows = [outcome["row"] for outcome in outcomes]
        if not rank_zero_only.rank:
            results.write_tables(self.folder.path, outcomes)  # a crash may have come between a level and its row
            title = "{method} of {model} on {dataset}".format(**self.config["choices"])
            results.draw_curve(self.folder.path, rows, title)
            results.show(self.console, self.folder.path, rows, title)
        return rows[-1].get("val_accuracy", rows[-1].get("test_accuracy"))

    def _network(self) -> torch.nn.Module:
        torch.manual_seed(derive("init", self.cfg.seeds.init))
        net = instantiate(self.cfg.model)
        if self.cfg.channels_last:
            net.to(memory_format=torch.channels_last)
        if self.cfg.compile:
            net.compile()
        return net

    def _plan(self, densities: list[float]) -> list[Level]:
        epoch = -(-self.data.steps_per_epoch // self.recipe.accumulate)
        budget = Budget(self.recipe.horizon(epoch), epoch)
        return instantiate(self.cfg.method.plan)(densities, self.folder.path, budget)

    def _parts(self, level: Level) -> tuple[Any, list[pl.Callback]]:
        """The level's LightningModule and the callbacks of its boundary."""
        stage = self.cfg.method.stages[level.stage]
        module = instantiate(stage.module)(
            net=self.net, masks=self.masks, recipe=self.recipe, level=level, classes=self.data.classes
        )
        return module, [instantiate(callback)(level=level) for callback in stage.callbacks.values()]

    def _start_from(self, level: Level) -> None:
        """Weights and masks the level begins with: the initial ones, or what the level before left on disk."""
        if level.first:
            copy_state_(self.net, self.initial)
            self.masks.copy_(self.support)
            return
        before = load_checkpoint(self.levels[level.index - 1].folder / "last.ckpt")
        weights = {k.removeprefix("net."): v for k, v in before["state_dict"].items() if k.startswith("net.")}
        copy_state_(self.net, weights)
        self.masks.copy_(before["masks"])

    def _averaging(self) -> list[pl.Callback]:
        return [EMA(self.recipe.ema)] if self.recipe.ema else []

    def _trainer(self, level: Level, callbacks: list[Any], loggers: list[Any]) -> pl.Trainer:
        return instantiate(
            self.cfg.trainer,
            callbacks=callbacks,
            logger=loggers or False,
            max_epochs=-1,
            max_steps=level.steps,
            precision=self.recipe.precision,
            gradient_clip_val=self.recipe.clip,
            accumulate_grad_batches=self.recipe.accumulate,
            plugins=[AtomicCheckpointIO()],
            default_root_dir=str(level.folder),
        )

    def _provenance(self, level: Level) -> dict[str, Any]:
        parent = self.levels[level.index - 1].folder.name if not level.first else None
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


def check_precision(precision: str, accelerator: str) -> None:
    """Refuse a precision the device lacks, where Lightning would warn and take another."""
    if precision not in PRECISIONS:
        raise ValueError(f"recipe.precision {precision!r} is not one of {PRECISIONS}")
    cpu = accelerator == "cpu" or (accelerator == "auto" and not torch.cuda.is_available())
    if precision == "16-mixed" and cpu:
        raise ValueError("recipe.precision=16-mixed needs a GPU; on the CPU use 32-true or bf16-mixed")
    if precision == "bf16-mixed" and not cpu and not torch.cuda.is_bf16_supported():
        raise ValueError("recipe.precision=bf16-mixed: this GPU lacks bfloat16; use 16-mixed or 32-true")


def refuse_empty(densities: list[float], total: int) -> None:
    """A density may round to no weight at all."""
    for density in densities:
        if count_kept(density, total) == 0:
            raise ValueError(f"density {density} keeps none of the {total} prunable weights")


def quiet_lightning() -> None:
    """Lightning's per-Trainer banners and tips would appear once a level."""
    for name in ("utilities.rank_zero", "accelerators.cuda", "trainer.connectors.checkpoint_connector"):
        logging.getLogger(f"pytorch_lightning.{name}").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", ".*does not have many workers.*")
    warnings.filterwarnings("ignore", ".*number of training batches .* is smaller than the logging interval.*")
    warnings.filterwarnings("ignore", ".*Total length of .* across ranks is zero.*")  # dataset.val_size=0
    warnings.filterwarnings("ignore", ".*LeafSpec.*is deprecated.*")
