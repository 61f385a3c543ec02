"""The part that all launchers share: plan the jobs of a sweep, skip finished ones, run the others, report."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from hydra_plugins.lth_launcher._composed import SweepConfigurations
from hydra_plugins.lth_launcher.job import Job, plan, returns, say_failed, summarise, unfinished


class JobLauncher(Launcher):
    """Runs each unfinished job of a sweep as its own command line. Subclasses say how, in `run`."""

    config: DictConfig
    hydra_context: HydraContext

    @abstractmethod
    def run(self, jobs: Sequence[Job]) -> list[str] | None:
        """Run `jobs`. Returns one cause of failure per job, "" if it finished; None if it does not wait for them."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.config, self.hydra_context = config, hydra_context
        loader = hydra_context.config_loader
        # set on the loader itself, because the sweeper uses the same one
        vars(loader).update(
            load_sweep_config=SweepConfigurations(loader),
            get_group_options=partial(_choosable, loader.get_group_options),
        )

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        jobs = plan(self.hydra_context, self.config, job_overrides, initial_job_idx)
        todo = unfinished(jobs)
        failures = {index: job.refused for index, job in enumerate(jobs) if job.refused}
        for index, cause in failures.items():
            say_failed(jobs[index], cause)
        outcomes = self.run(todo)
        if outcomes is None:
            return returns(jobs, failures)
        wrong = dict(zip(map(id, todo), outcomes, strict=True))
        failures |= {index: wrong[id(job)] for index, job in enumerate(jobs) if wrong.get(id(job))}
        summarise(jobs, failures)
        return returns(jobs, failures)


def _choosable(options: Callable[..., list[str]], *args: Any, **kwargs: Any) -> list[str]:
    """Options of a group that `method=glob(*)` matches, without shared parts, whose names begin with `_`."""
    return [name for name in options(*args, **kwargs) if not name.startswith("_")]
