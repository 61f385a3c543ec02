"""The level loop: a fresh Trainer per level, everything between levels on disk, so that the same command resumes."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from rich.console import Console

from lth.callbacks.watch.curves import Curves
from lth.callbacks.watch.keep_ticket import KeepTicket
from lth.callbacks.watch.last_checkpoint import LastCheckpoint
from lth.callbacks.watch.layer_report import LayerReport
from lth.callbacks.watch.same_on_ranks import SameOnRanks
from lth.callbacks.watch.show_progress import ShowProgress
from lth.callbacks.watch.stop_on_nonfinite import StopOnNonFinite
from lth.callbacks.within.sparse_compute import SparseCompute
from lth.experiment._environment import environment, quiet_lightning
from lth.experiment._finished_levels import shrink_finished
from lth.experiment._stored_configuration import default_keys, series_configuration
from lth.experiment.build import Experiment
from lth.plan import Level
from lth.report.figures import single_run
from lth.report.output import console, print_table, save_picture
from lth.report.results import pictures_of, print_levels, rows_of, title_of, write_tables
from lth.storage.folder import RunFolder
from lth.training.ranks import assert_same_training
from lth.training.signals import die_with_parent, listen, stopped_by_signals


def run(cfg: DictConfig) -> float | None:
    """Run or resume the experiment that `cfg` describes.

    Returns the last level's accuracy, 0..1: on the validation set, or on the test set if there is no validation set.
    Raises ValueError for any error in the configuration, before training.
    """
    quiet_lightning()
    _check_loggers(cfg.logger or {})
    if cfg.threads:
        torch.set_num_threads(cfg.threads)
    listen(training=False)
    folder = RunFolder(cfg.folder)
    with ExitStack() as stack:
        stack.enter_context(stopped_by_signals())
        experiment = Experiment(cfg, folder)  # first, so that a mistake leaves no folder behind
        if rank_zero_only.rank:  # ranks other than 0 join a run that rank 0 has claimed
            die_with_parent()
            return Loop(experiment).train()
        try:
            stack.enter_context(folder.locked())
        except OSError:  # a read-only or full file system, or one without locks
            if cfg.overwrite or not folder.holds(experiment.config, len(experiment.levels), default_keys(cfg)):
                raise
            return Loop(experiment).show()
        series, levels = series_configuration(cfg), len(experiment.levels)
        record = {**environment(), "overrides": _overrides()}
        folder.claim(experiment.config, record, cfg.overwrite, series, levels, default_keys(cfg))
        stack.enter_context(folder.explained())
        stack.enter_context(stopped_by_signals())  # inside `explained`, so that a signal leaves no error.txt
        return Loop(experiment).train()


class Loop:
    """Trains the levels of an experiment that are not finished."""

    def __init__(self, experiment: Experiment):
        self.experiment, self.folder, self.console = experiment, experiment.folder, console()
        self.levels = experiment.levels
        self._trained = False  # whether a level was trained now

    def train(self) -> float | None:
        """Train the unfinished levels and write the tables. Returns the last level's accuracy, 0..1."""
        progress = ShowProgress(self.levels, self.console)
        loggers = [instantiate(logger) for logger in (self.experiment.cfg.logger or {}).values()]
        for logger in loggers:
            logger.log_hyperparams(self.experiment.config)
        outcomes: list[dict[str, Any]] = []
        if not rank_zero_only.rank:
            done = sum(self.folder.finished(level.folder) is not None for level in self.levels)
            self.console.print(_what_is_to_do(self.levels, done), soft_wrap=True)
        shrink_finished(self.levels, self.experiment.cfg.keep)
        try:
            for level in self.levels:
                outcome = self.folder.finished(level.folder)
                outcomes.append(outcome or self.train_level(level, loggers, progress, outcomes))
                if outcome is None:
                    self._trained = True
                    self._publish(level, outcomes, loggers)
                    shrink_finished(self.levels, self.experiment.cfg.keep, level.index)
            progress.close()
            if not rank_zero_only.rank:
                self._complete(outcomes, loggers)
        finally:
            progress.close()
            for logger in loggers:
                getattr(logger, "close", lambda: None)()
        return self._print(outcomes)

    def show(self) -> float | None:
        """Print the table of a finished run without writing anything; return the last level's accuracy."""
        return self._print([self.folder.finished(level.folder) or {} for level in self.levels])

    def train_level(
        self, level: Level, loggers: list[Any], progress: ShowProgress, before: Sequence[Mapping[str, Any]] = ()
    ) -> dict[str, Any]:
        """Train one level, from its start or its last checkpoint, and mark it finished. Returns its outcome.

        level: the level
        loggers: loggers of the run
        progress: the run's display
        before: outcomes of the levels before it, each with rows for tables and curves
        """
        cfg, data, image_shape = self.experiment.cfg, self.experiment.data, self.experiment.image_shape
        module, boundary = self.experiment.build_level(level)
        self.experiment.load_start(level, module)
        data.level = level.stream
        progress.begin(level)
        offset = sum(before.steps for before in self.levels[: level.index])
        earlier = rows_of("curves", before)
        curves, ticket = Curves(level, offset, earlier), KeepTicket(level, self.experiment.provenance(level))
        last = level.folder / "last.ckpt"
        saving = LastCheckpoint(last, level.steps, cfg.checkpoint_seconds)
        # Lightning calls callbacks in this order: those of the stage set masks and weights, the ticket stores them
        # then. A NaN loss raises an error before its epoch is logged. `saving`, a Checkpoint, is moved to the end.
        watching = [StopOnNonFinite(level), curves, progress, saving, SameOnRanks()]
        layers = LayerReport(level, image_shape, self.console, print_table, cfg.allow_dead)
        compute = SparseCompute(level, image_shape, self.console, cfg.compute)
        trainer = self.experiment.trainer(level, [*boundary, layers, ticket, compute, *watching], loggers)
        if last.is_file() and trainer.is_global_zero:
            self.console.print(f"resuming level {level.index} from its last checkpoint")
        trainer.fit(module, datamodule=data, ckpt_path=last if last.is_file() else None)
        if trainer.global_step != level.steps:
            raise KeyboardInterrupt(f"level {level.index} stopped at step {trainer.global_step} of {level.steps}")
        module.finalize_()
        assert_same_training("after training", module, module.masks)
        row = self._row(level, trainer, module, curves)
        outcome = {"row": row, "layers": compute.named(layers.table(module.net, module.masks))}
        outcome |= {"events": module.events, "curves": curves.rows}
        outcome["topology"] = [line for callback in boundary for line in getattr(callback, "rows", list)()]
        if trainer.is_global_zero:
            ticket.complete(module.masks.bools(), {k: row[k] for k in ("test_accuracy", "val_accuracy") if k in row})
            self.folder.finish(level.folder, outcome)
        trainer.strategy.barrier()
        return outcome

    def _row(self, level: Level, trainer: pl.Trainer, module: Any, curves: Curves) -> dict[str, Any]:
        """The level's row of results.csv: training and validation of the last epoch, best validation, test."""
        data = self.experiment.data
        if "val_loss" not in curves.last and data.val_dataloader():
            trainer.validate(module, datamodule=data, verbose=False)  # a level that ended within an epoch
            curves.last |= module.validation_metrics
        trainer.test(module, datamodule=data, verbose=False)
        best = {f"best_{name}": value for name, value in curves.best.items()}
        kept, schedules = module.masks.kept, len(level.budget.schedules)
        return {
            "level": level.index,
            "name": level.name,
            "stage": level.stage,
            "density": kept / module.masks.total,
            "target_density": level.density,
            "kept": kept,
            "epochs": level.steps / level.budget.epoch,
            "steps": level.steps,
            **({"cycles": schedules} if schedules > 1 else {}),
            **curves.last,
            **best,
            **module.test_metrics,
            "seconds": curves.seconds,
        }

    def _publish(self, level: Level, outcomes: list[dict[str, Any]], loggers: list[Any]) -> None:
        if rank_zero_only.rank:
            return
        write_tables(self.folder.path, outcomes)
        for logger in loggers:
            if hasattr(logger, "log_level"):
                logger.log_level(outcomes, level.folder / "ticket.safetensors")
        if not self.console.is_interactive:
            self.console.print(_line_of(outcomes[-1]["row"], len(self.levels)), soft_wrap=True)

    def _complete(self, outcomes: list[dict[str, Any]], loggers: list[Any]) -> None:
        """Write missing tables, curves and pictures, and pass the pictures to the loggers."""
        write_tables(self.folder.path, outcomes)  # a crash may have come between a level and its row
        steps = sum(level.steps for level in self.levels)
        for logger in loggers:
            if hasattr(logger, "restore"):
                logger.restore(len(outcomes), rows_of("curves", outcomes), steps)
        self._draw(outcomes, title_of(self.experiment.config))
        pictures = [self.folder.path / name for name in pictures_of(outcomes) if self.folder.has_picture(name)]
        for logger in loggers:
            if hasattr(logger, "log_run"):
                logger.log_run(outcomes, pictures)

    def _print(self, outcomes: list[dict[str, Any]]) -> float | None:
        rows, title = [outcome["row"] for outcome in outcomes], title_of(self.experiment.config)
        screen = Console(quiet=True) if rank_zero_only.rank else self.console
        return print_levels(screen, self.folder.path, rows, title)

    def _draw(self, outcomes: list[dict[str, Any]], title: str) -> None:
        """Draw the pictures, unless no level was trained and all pictures exist and are complete."""
        if not self._trained and all(map(self.folder.has_picture, pictures_of(outcomes))):
            return
        curve = single_run.accuracy_curve([outcome["row"] for outcome in outcomes], title)
        save_picture(curve, self.folder.path / "curve.png")
        topology = single_run.topology(outcomes, title)
        if topology is not None:
            save_picture(topology, self.folder.path / "topology.png")


def _what_is_to_do(levels: Sequence[Level], done: int) -> str:
    """How many levels there are and their densities, or how many of them are finished already.

    done: number of levels that are finished
    """
    if done:
        return f"{done} of {len(levels)} levels are finished already"
    densities = dict.fromkeys(f"{level.density:.4g}" for level in (levels[0], levels[-1]))
    return f"{len(levels)} level{'s' if len(levels) > 1 else ''}, density {' to '.join(densities)}"


def _line_of(row: Mapping[str, Any], levels: int) -> str:
    """A finished level in one line. levels: number of levels of the run."""
    return (
        f"level {row['level']} ({row['level'] + 1}/{levels})  density {row['density']:.4f}  "
        f"test accuracy {row['test_accuracy']:.4f}  {row['seconds']:.1f} s"
    )


def _overrides() -> list[str] | None:
    """The command line's overrides, for the record; None without one (in a test)."""
    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else None


def _check_loggers(loggers: Mapping[str, Any]) -> None:
    """Raise ImportError for a logger whose library is not installed, before anything is written.

    loggers: the configuration's entry `logger`, each with its `_target_`
    """
    for logger in loggers.values():
        getattr(get_class(logger["_target_"]), "check_installed", lambda: None)()
