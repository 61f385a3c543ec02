"""Sweeps on a Ray cluster: each job a Ray task, in a fresh process on whichever node has room."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from hydra_plugins.lth_launcher.job import Job, error_file, say_failed, without_overwrite
from hydra_plugins.lth_launcher.launcher import JobLauncher
from lth.cli._valid import check_part
from lth.training.signals import die_with_parent


class RayLauncher(JobLauncher):
    """Runs each unfinished job of a sweep on the Ray cluster at `address`, as many at a time as its resources allow.

    address: `auto` for the cluster this machine belongs to, `host:port`, `ray://host:port`, or `local` for a cluster
        of this machine alone that ends with the sweep
    num_cpus, num_gpus, resources: Ray resources that one job reserves; num_cpus + num_gpus must be over 0
    retries: how often a job is started again after its node was lost; it resumes
    env: names of environment variables passed to the jobs, besides PYTHONPATH

    Project, Python environment and `runs` must lie at the same path on all nodes. A job dies with its Ray worker and
    workers die with the sweep, so no job of a killed sweep still runs when the sweep is started again.
    """

    def __init__(
        self,
        address: str = "auto",
        num_cpus: float = 1,
        num_gpus: float = 0,
        resources: Mapping[str, float] | None = None,
        retries: int = 3,
        env: Sequence[str] = (),
    ) -> None:
        given = {"address": address, "num_cpus": num_cpus, "num_gpus": num_gpus, "resources": resources}
        check_part("hydra.launcher", **given, retries=retries, env=env)
        if num_cpus + num_gpus == 0:
            raise ValueError(f"hydra.launcher.num_cpus={num_cpus}, num_gpus={num_gpus}: one of them must be over 0")
        self.address, self.env, self.retries = address, list(env), retries
        self.options = {"num_cpus": num_cpus, "num_gpus": num_gpus, "resources": dict(resources or {})}

    def run(self, jobs: Sequence[Job]) -> list[str]:
        if not jobs:
            return []
        ray = _ray()
        ray.init(address=self.address, logging_level="warning")
        try:
            return self._on(ray, jobs)
        finally:
            ray.shutdown()

    def _on(self, ray: Any, jobs: Sequence[Job]) -> list[str]:
        task = ray.remote(max_retries=0, **self.options)(run_command)
        env = {name: os.environ[name] for name in ("PYTHONPATH", *self.env) if name in os.environ}

        def start(index: int, attempt: int) -> Any:
            print(f"job{' again' if attempt else ''}: {jobs[index]}", flush=True)
            return task.remote(without_overwrite(jobs[index].command, attempt), os.getcwd(), env)

        outcomes = [""] * len(jobs)
        running = {start(index, 0): (index, 0) for index in range(len(jobs))}
        while running:
            reference = ray.wait(list(running), num_returns=1)[0][0]
            index, attempt = running.pop(reference)
            try:
                cause, node = ray.get(reference)
                outcomes[index] = f"{cause} (on node {node})" if cause else ""
                if not cause:
                    print(f"finished on node {node}: {jobs[index]}", flush=True)
            except ray.exceptions.RayError as error:  # the node or its worker was lost, not the training
                outcomes[index] = f"was lost {attempt + 1} times: {str(error).strip().splitlines()[0]}"
                if attempt < self.retries:
                    running[start(index, attempt + 1)] = index, attempt + 1
                    continue
            if outcomes[index]:
                say_failed(jobs[index], outcomes[index])
        return outcomes


def run_command(command: Sequence[str], cwd: str, env: Mapping[str, str]) -> tuple[str, str]:
    """The Ray task: run a job's command in `cwd`; returns why it failed, or nothing, and the node it ran on."""
    with error_file() as (environment, cause):
        where = {**os.environ, **env, **environment}
        code = subprocess.run(command, cwd=cwd, env=where, check=False, preexec_fn=die_with_parent).returncode
        return cause(code), _ray().get_runtime_context().get_node_id()[:8]


def _ray() -> Any:
    try:
        import ray
    except ImportError:
        raise ImportError("hydra/launcher=ray needs Ray: pip install 'lth[ray]'") from None
    return ray
