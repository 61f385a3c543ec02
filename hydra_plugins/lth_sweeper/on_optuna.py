"""Hyperparameter search: Optuna proposes the jobs of a sweep through its ask-and-tell interface."""

from collections.abc import Callable
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from lth.cli._valid import check_part


class OptunaSweeper(Sweeper):
    """Searches for the highest validation accuracy of the last level with `trials` jobs.

    trials: number of jobs
    at_a_time: number of jobs that are proposed, and run, together
    sampler: tpe or random
    seed: seed of the sampler

    `key=interval(a,b)` is a real number, with `tag(log,...)` on a logarithmic axis; `range(a,b)` and `a,b,c` are
    searched too; other overrides are the same in every job. The same command proposes the same jobs as long as they
    score the same, and finished jobs are skipped, so a killed search resumes without a database. A job that fails is a
    trial without a result.
    """

    def __init__(self, trials: int = 20, at_a_time: int = 1, sampler: str = "tpe", seed: int = 0):
        check_part("hydra.sweeper", trials=trials, at_a_time=at_a_time, sampler=sampler, seed=seed)
        self.trials, self.at_a_time, self.sampler, self.seed = trials, at_a_time, sampler, seed
        self.launcher: Launcher | None = None
        self.config: DictConfig | None = None
        self.hydra_context: HydraContext | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.config, self.hydra_context = config, hydra_context
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Returns the best job's overrides; None if every job failed. Raises ValueError without validation images."""
        optuna = _optuna()
        assert self.launcher is not None
        assert self.config is not None
        if not self.config.dataset.get("val_size", 1):
            raise ValueError("hydra/sweeper=optuna picks by validation accuracy: dataset.val_size must not be 0")
        draws = [draw(override) for override in OverridesParser.create().parse_overrides(arguments)]
        sampler = {"tpe": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler}[self.sampler]
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(direction="maximize", sampler=sampler(seed=self.seed))
        proposed: list[list[str]] = []
        while len(proposed) < self.trials:
            batch = [study.ask() for _ in range(min(self.at_a_time, self.trials - len(proposed)))]
            jobs = [[each(trial) for each in draws] for trial in batch]
            self.validate_batch_is_legal(jobs)
            for trial, result in zip(batch, self.launcher.launch(jobs, len(proposed)), strict=True):
                score = _score(result)
                study.tell(trial, score, None if score is not None else optuna.trial.TrialState.FAIL)
            proposed += jobs
        return _best(study, proposed)


def draw(override: Override) -> Callable[[Any], str]:
    """A function from an Optuna trial to an override. An override without a sweep is the same for all trials."""
    key = override.get_key_element()
    if not override.is_sweep_override():
        fixed = f"{key}={override.get_value_element_as_str()}"
        return lambda trial: fixed
    value: Any = override.value()
    log = "log" in getattr(value, "tags", ())
    if isinstance(value, IntervalSweep):
        low, high = float(value.start or 0), float(value.end or 0)
        return lambda trial: f"{key}={trial.suggest_float(key, low, high, log=log)}"
    if isinstance(value, RangeSweep) and all(isinstance(v, int) for v in (value.start, value.stop, value.step)):
        numbers: Any = value.range()
        if not numbers or (log and abs(numbers.step) != 1):
            raise ValueError(f"{override.input_line}: a range must hold a value, and have steps of 1 on a log scale")
        ends, step = sorted((numbers[0], numbers[-1])), abs(numbers.step)
        return lambda trial: f"{key}={trial.suggest_int(key, *ends, step=step, log=log)}"
    choices = list(override.sweep_string_iterator())
    return lambda trial: f"{key}={trial.suggest_categorical(key, choices)}"


def _score(result: JobReturn) -> float | None:
    return result.return_value if result.status == JobStatus.COMPLETED else None


def _best(study: Any, proposed: list[list[str]]) -> list[str] | None:
    if not any(trial.value is not None for trial in study.trials):
        print(f"none of {len(proposed)} trials finished", flush=True)
        return None
    best = study.best_trial
    print(
        f"best of {len(proposed)} trials: validation accuracy {best.value:.4f} with {' '.join(proposed[best.number])}"
    )
    return proposed[best.number]


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise ImportError("hydra/sweeper=optuna needs Optuna: pip install 'lth[optuna]'") from None
    return optuna
