"""Runs whole experiments from tests: composed from `conf/`, in this process or in one that can be killed."""

import copy
import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Sequence
from contextlib import nullcontext
from functools import cache
from importlib import import_module
from multiprocessing.connection import wait
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from lth.cli.run import register_resolvers
from lth.experiment import _finished_levels
from lth.experiment._environment import quiet_lightning
from lth.experiment.loop import Loop, run
from lth.modules.classifier import Classifier
from lth.pruning import Masks
from lth.pruning.masks import fingerprint
from lth.storage.folder import RunFolder
from lth.tickets import Ticket
from tests.support.tiers import check_not_fast

quiet_lightning()
Bombs = dict[int, tuple[str, int]] | None
CONF = Path(__file__).parents[2] / "conf"
# a few seconds of training on images made on the spot: three epochs of four steps a level
SMALL = (
    "dataset=synthetic",
    "dataset.train_size=100",
    "dataset.test_size=40",
    "dataset.val_size=20",
    "dataset.image_size=8",
    "dataset.channels=1",
    "dataset.classes=4",
    "model=mlp",
    "model.widths=[24,16]",
    "recipe.epochs=3",
    "recipe.batch_size=20",
    "checkpoint_seconds=0",
    "trainer=cpu",
    "threads=1",
)


def names(group: str) -> list[str]:
    """The options of a group, by globbing; experiments lie in a folder for each paper, parts begin with `_`."""
    files = (CONF / group).glob("*/*.yaml" if group == "experiment" else "*.yaml")
    named = (file.relative_to(CONF / group).as_posix().removesuffix(".yaml") for file in files if file.name[0] != "_")
    return sorted(named)


def usual(method: str, tmp_path: Path) -> list[str]:
    """Overrides under which `method` trains a small experiment: iterative ones a ladder, ticket users a ticket."""
    cfg = configuration(tmp_path, f"method={method}")
    overrides = [f"method={method}"]
    if cfg.sparsity._target_ == "lth.pruning.ladder.geometric":
        overrides += ["sparsity=list", "sparsity.densities=[0.5,0.3]"]
    elif cfg.sparsity.density is not None:
        overrides.append(f"sparsity.density={0.3 if (cfg.support.density or 1) > 0.3 else 0.1}")
    if cfg.method.get("period"):
        overrides.append("method.period=1")
    if cfg.method.get("warm"):
        overrides.append("method.warm=1ep")
    if "levels" in cfg.sparsity and "above" in cfg.sparsity:
        overrides.append("sparsity.levels=2")
    if "every" in cfg.method:
        overrides.append("method.every=2")
    if "start" in cfg.method:  # of soft thresholds: at -200 nothing would be pruned
        overrides.append("method.start=-3")
    if cfg.recipe.cycles.n > 3:
        overrides.append("recipe.cycles.n=3")  # one an epoch
    if "rules" in cfg.method and not cfg.method.rules:  # a schedule is its rules
        overrides.append("+method.rules.some={names: ['*'], end: 0.3, begin: 0, stop: 2, every: 1}")
    if cfg.model.batch_norm:  # as the method needs it, or can do without
        overrides.append(f"model.batch_norm={'true' if 'scale_l1' in str(cfg.method) else 'false'}")
    optional = (cfg.method.get("allocation") or {}).get("base") is not None  # another allocation without a ticket
    if "${ticket}" in str(OmegaConf.to_container(cfg.method)) and not optional:
        overrides.append(f"ticket={a_ticket(tmp_path / 'given.safetensors', cfg)}")
    return overrides


def a_ticket(path: Path, cfg: DictConfig) -> Path:
    """A ticket of the configured network that keeps 1/2 of the first layer, 2/3 of the second, 3/4 of the third, ..."""
    with torch.random.fork_rng():
        torch.manual_seed(0)  # the same ticket for every run that is compared
        net = instantiate(cfg.model)
    masks = Masks.ones(net)
    for index, mask in enumerate(masks.values()):
        mask.view(-1)[:: 2 + index] = 0
    Ticket(masks.bools(), net.state_dict()).save(path)
    return path


def configuration(folder: Path | str, *overrides: str, small: bool = True) -> DictConfig:
    """The composed configuration of a command line: what Hydra composes, with the choices of groups composed once.

    Reading the thirty files of a configuration takes most of Hydra's time; many tests make the same choices.
    """
    register_resolvers()
    own_model = any(override.startswith("model=") for override in overrides)
    start = [o for o in SMALL if not (own_model and o.startswith("model"))] if small else []
    every = [*start, *overrides, f"folder={folder}"]
    choices = tuple(override for override in every if _chooses_group(override))
    cfg = copy.deepcopy(_composed(choices))
    values = OverridesParser.create().parse_overrides([override for override in every if override not in choices])
    ConfigLoaderImpl._apply_overrides_to_config(values, cfg)
    return cfg


def composed_by_hydra(overrides: Sequence[str]) -> DictConfig:
    """What Hydra itself composes from `conf/`."""
    register_resolvers()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", overrides=list(overrides))


@cache
def _composed(choices: tuple[str, ...]) -> DictConfig:
    return composed_by_hydra(choices)


def _chooses_group(override: str) -> bool:
    """Whether an override chooses an option of a group (`model=mlp`, `+experiment=...`), or is one of Hydra's own."""
    key = override.partition("=")[0].lstrip("+~").partition("@")[0]
    return key.startswith("hydra") or (CONF / key).is_dir()


def train(folder: Path | str, *overrides: str, small: bool = True, draw: bool = False) -> float | None:
    """Run an experiment in this process, without the pictures at its end unless `draw`."""
    return _run(configuration(folder, *overrides, small=small), draw)


def _run(cfg: DictConfig, draw: bool = False) -> float | None:
    check_not_fast()
    torch.set_num_threads(1)
    drawn = nullcontext() if draw else patch.object(Loop, "_draw")
    with drawn, patch.object(_finished_levels, "_without_state", _with_digest):
        return run(cfg)


def _with_digest(optimizer: dict[str, Any]) -> dict[str, Any]:
    """An optimizer's state as a finished level keeps it, with the digest of what it does not keep, for `state`."""
    return {**optimizer, "state": {}, "digest": fingerprint(_tensors(optimizer["state"]))}


def train_apart(folder: Path, overrides: Sequence[str], bomb: tuple[str, int] | None = None) -> int:
    """Run an experiment in a process of its own; return its exit code (-9 when its bomb went off).

    bomb: ("step", n) kills it in the n-th training step, ("before finish", k) when level k is trained but not marked
    finished, ("after finish", k) between level k and the next.
    """
    (code,) = _start([([configuration(folder, *overrides)], bomb, {})])
    return code


def train_on_ranks(folder: Path, overrides: Sequence[str], ranks: int = 2, bombs: Bombs = None) -> list[int]:
    """Run an experiment on CPU processes (gloo); return their exit codes. bombs: by rank, as in `train_apart`."""
    return train_all_on_ranks([(folder, overrides)], ranks, bombs)


def train_all_on_ranks(runs: Sequence[tuple[Path, Sequence[str]]], ranks: int = 2, bombs: Bombs = None) -> list[int]:
    """The same for several experiments one after the other (folder, overrides), in the same processes."""
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "NODE_RANK": "0", "WORLD_SIZE": str(ranks)}
    devices = "trainer=ddp_cpu", f"trainer.devices={ranks}"
    placed = [configuration(folder, *overrides, *devices) for folder, overrides in runs]
    return _start([(placed, (bombs or {}).get(rank), {**where, "LOCAL_RANK": str(rank)}) for rank in range(ranks)])


def forks() -> BaseContext:
    """Processes that begin as copies of this one, with everything imported that a run imports."""
    check_not_fast()
    import_module("torch._dynamo")  # the first optimizer step imports it: once here, rather than in every copy
    return multiprocessing.get_context("fork")


def _start(jobs: Sequence[tuple[Any, ...]]) -> list[int]:
    processes = [forks().Process(target=_job, args=job) for job in jobs]
    for process in processes:
        process.start()
    while alive := [process.sentinel for process in processes if process.is_alive()]:
        wait(alive)
        if any(process.exitcode for process in processes):  # the other ranks may wait for this one: for 30 minutes
            _end(processes)
    return [process.exitcode for process in processes if process.exitcode is not None]


def _end(processes: Sequence[Any], patience: float = 20) -> None:
    """Give `processes` `patience` seconds to end, then kill those that have not."""
    until = time.monotonic() + patience
    for process in processes:
        process.join(max(0, until - time.monotonic()))
        process.kill()
        process.join()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _job(runs: list[DictConfig], bomb: tuple[str, int] | None, where: dict[str, str]) -> None:
    os.environ.update(where)
    register_resolvers()
    if where:  # Lightning read the environment when it was imported, so the rank is set again
        rank_zero_only.rank = int(where["LOCAL_RANK"])
    if bomb is not None:
        _plant(*bomb)
    for cfg in runs:
        _run(cfg)


def _plant(where: str, count: int) -> None:
    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    if where == "step":
        step, done = Classifier.training_step, [0]

        def counted(self: Any, *args: Any) -> Any:
            done[0] += 1
            if done[0] == count:
                die()
            return step(self, *args)

        Classifier.training_step = counted
        return
    finish = RunFolder.finish

    def fatal(self: Any, level: Path, outcome: Any) -> None:
        index = int(level.name.split("_")[1])
        if index == count and where == "before finish":
            die()
        finish(self, level, outcome)
        if index == count and where == "after finish":
            die()

    RunFolder.finish = fatal


def _tensors(value: Any, prefix: str = "") -> dict[str, torch.Tensor]:
    if torch.is_tensor(value):
        return {prefix: value}
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return {k: v for key, item in items for k, v in _tensors(item, f"{prefix}/{key}").items()}
