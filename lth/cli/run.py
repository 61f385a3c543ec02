"""`lth run method=imp model=resnet20 dataset=cifar10`: Hydra's command line, with the run's folder named after it."""

import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import hydra
from hydra._internal.hydra import Hydra
from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from lth.cli._configurations import CONFIGURATIONS
from lth.cli._errors import check_added, check_options, hydra_errors, short_errors
from lth.cli._own_parts import import_from_here, options_first
from lth.cli._run_help import help_text
from lth.storage.atomic import write_text

_MODULE = "lth.run.__main__"  # what `python -m` starts for jobs of a sweep and for ranks
# overrides left out of a folder's name: its path says them already, or they do not change the result
_NOT_IN_NAME = re.compile(
    r"(dataset|model|method|sparsity|sparsity\.density|dataset\.root|seed|folder|overwrite|keep|checkpoint_seconds|threads"
    r"|logger(\..*)?|trainer\.(accelerator|devices|num_nodes|strategy|enable_.*))$"
)
# words of a command line that choose files which may set hydra.mode, or that set it
_MAY_SET_MODE = re.compile(r"[+~]*(experiment\b|hydra\b)|--?c[dnp]\b|--config")
_LONGEST_NAME = 120  # characters; a longer name is cut and ends in a hash of the whole
_failed: list[Exception] = []  # what ended the run
_INTERRUPTED = 130  # exit code after Ctrl-C, as shells have it
ERROR_FILE = "LTH_ERROR_FILE"  # environment variable: file that a job of a sweep writes the cause of its failure into


def main(arguments: Sequence[str] | None = None) -> None:
    """Compose the configuration from the command line and run it.

    arguments: Hydra's overrides and options; None = those of the process

    HYDRA_FULL_ERROR=1 in the environment shows the traceback of every error.
    """
    if arguments is not None:
        _act_as_module(arguments)
    import_from_here()
    sys.argv[1:] = map(_quoted, options_first(sys.argv[1:]))
    register_resolvers()
    with short_errors():
        check_options(sys.argv[1:])
        check_added(CONFIGURATIONS, sys.argv[1:])
    if {"-h", "--help"} & set(sys.argv[1:]):
        with short_errors(), hydra_errors(CONFIGURATIONS, sys.argv[1:]):
            print(help_text(CONFIGURATIONS, sys.argv[1:]))
        return
    full = os.environ.get("HYDRA_FULL_ERROR") == "1" and os.environ.get("LTH_SHORT_ERRORS") != "1"
    if not full:  # otherwise Hydra prints its errors itself and exits
        os.environ.update(HYDRA_FULL_ERROR="1", LTH_SHORT_ERRORS="1")
    task = _run if full else _run_and_note
    command = hydra.main(version_base="1.3", config_path=str(CONFIGURATIONS), config_name="config")(task)
    if full:
        with _error_reported_to_sweep():
            command()
        return
    with (
        _error_reported_to_sweep(),
        short_errors(),
        _interruptions(),
        hydra_errors(CONFIGURATIONS, sys.argv[1:]),
        _mode_known(),
    ):
        command()
        if _failed:
            raise _failed.pop()


def register_resolvers() -> None:
    """Register `${lth.folder:seed,density}` and `${lth.choice:group}` with OmegaConf."""
    OmegaConf.register_new_resolver("lth.folder", _folder, replace=True)
    OmegaConf.register_new_resolver("lth.choice", _choice, replace=True)


def _folder_name(choices: Mapping[str, str], overrides: Sequence[str], seed: int, density: float | None) -> str:
    """runs/<dataset>/<model>/<method>-<sparsity>-<density>[/<other overrides>]/seed<k>, relative to the working folder.

    choices: group -> option chosen
    overrides: `key=value` of the command line
    seed: seed of the replicate
    density: fraction of prunable weights kept at the end, 0..1; None if the sparsity option has no such number

    The name is the same for a single run and for a job of a sweep. Overrides that do not change results, such as those
    of devices, are left out. A long part is cut and ends in a hash of the whole.
    """
    given = dict(override.lstrip("+~").partition("=")[::2] for override in overrides)
    named = {k: v for k, v in given.items() if not _NOT_IN_NAME.match(k) and (k, v) != ("trainer", choices["trainer"])}
    if choices["trainer"] == "debug":
        named["trainer"] = "debug"
    named = {k: v.replace("/", "-") if k in choices else v for k, v in named.items()}  # experiment=<paper>/<name>
    name = ",".join(f"{k}={v}" for k, v in sorted(named.items()))
    method = f"{choices['method']}-{choices['sparsity']}" + (f"-{density:g}" if density is not None else "")
    return "/".join(["runs", choices["dataset"], choices["model"], method, *_short(name), f"seed{seed}"])


class JudgeSweep(Callback):
    """Hydra callback: after a sweep of sanity checks, prints the verdict and writes it beside the runs."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        from lth.cli._verdict import judge

        given = dict(override.partition("=")[::2] for override in config.hydra.overrides.task)
        choices = config.hydra.runtime.choices
        root = Path("runs") / choices.dataset / choices.model
        if "folder" in given:
            root = Path(given["folder"].strip("'\"").partition("$")[0])
        print(judge([str(root)], root / "verdict"))


def _quoted(word: str) -> str:
    """Quote an override's value for Hydra if it is an existing path that contains `=`; other words are unchanged."""
    name, _, value = word.partition("=")
    return f'{name}="{value}"' if "=" in value and value[0] not in "'\"" and os.path.exists(value) else word


def _act_as_module(arguments: Sequence[str]) -> None:
    """Set `sys.argv` and `__main__` as `python -m lth.run ...` would.

    Hydra reads `sys.argv`. Jobs of a sweep and ranks of a distributed run are started from it and from the module of
    `__main__`. The console script would leave `lth run` in both.
    """
    sys.argv = [__file__, *arguments]
    sys.modules["__main__"].__spec__ = find_spec(_MODULE)


@contextmanager
def _mode_known() -> Iterator[None]:
    """Skip Hydra's first composition if no word of the command line can set `hydra.mode`.

    Hydra composes the configuration once only to read `hydra.mode`, which takes a quarter of a second.
    """
    name, read = "get_mode", Hydra.get_mode
    if not any(map(_MAY_SET_MODE.match, sys.argv[1:])):
        setattr(Hydra, name, lambda *_, **__: None)
    try:
        yield
    finally:
        setattr(Hydra, name, read)


def _run(cfg: DictConfig) -> float | None:
    from lth.cli._valid import check

    check(cfg)
    from lth.experiment.finished import show_finished

    accuracy = show_finished(cfg)
    if accuracy is None:
        _say_what_runs(cfg)
        from lth.experiment.loop import run  # imported here: what does not train should not wait for torch

        accuracy = run(cfg)
    return accuracy


def _say_what_runs(cfg: DictConfig) -> None:
    """Print what will be trained and where, before the imports, which take seconds."""
    from lth.experiment.finished import is_first_rank
    from lth.report.results import title_of

    if is_first_rank() and HydraConfig.get().mode == RunMode.RUN:
        begun = (Path(cfg.folder) / "config.yaml").is_file() and not cfg.overwrite
        density = "" if cfg.sparsity.density is None else f" to density {cfg.sparsity.density:g}"
        ladder = str(HydraConfig.get().runtime.choices["sparsity"]) + density
        where = f"resumes in {cfg.folder}" if begun else f"folder {cfg.folder}"
        print(f"{title_of(cfg)}, {ladder}, seed {cfg.seed}, {where}", flush=True)


def _run_and_note(cfg: DictConfig) -> float | None:
    """Call `_run`, but keep its error until Hydra has ended: Hydra would print a line of its own before it."""
    try:
        return _run(cfg)
    except Exception as error:
        if HydraConfig.get().mode != RunMode.RUN:  # a sweep of Hydra's own launcher counts its failed jobs
            raise
        _failed.append(error)
        return None


@contextmanager
def _error_reported_to_sweep() -> Iterator[None]:
    """Write the cause of a failure into the file that a sweep has named, so that the sweep reports it with the job."""
    path = os.environ.pop(ERROR_FILE, None)  # ranks that this process starts report by themselves
    try:
        yield
    except SystemExit as left:
        if path is None or not isinstance(left.code, str):
            raise
        write_text(Path(path), left.code.removeprefix("error: "))
        sys.exit(1)
    except Exception as error:
        if path is not None:
            write_text(Path(path), f"{type(error).__name__}: {error}")
        raise


def _choice(group: str) -> str:
    return str(HydraConfig.get().runtime.choices[group]) if HydraConfig.initialized() else "unnamed"


def _folder(seed: int, density: float | None) -> str:
    config = HydraConfig.get()
    choices = {group: str(choice) for group, choice in config.runtime.choices.items()}
    return _folder_name(choices, list(config.overrides.task), seed, density)


def _short(name: str) -> list[str]:
    clean = re.sub(r"[^\w.,=+@-]+", "_", name)[:_LONGEST_NAME]
    if clean == name:
        return [clean] if name else []
    return [f"{clean}-{sha256(name.encode()).hexdigest()[:8]}"]


@contextmanager
def _interruptions() -> Iterator[None]:
    """After Ctrl-C, print how to resume, which Lightning does not, and exit with code 130 as shells do."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as left:
        if not isinstance(left, KeyboardInterrupt) and not isinstance(left.__context__, KeyboardInterrupt):
            raise
        print("stopped; run the same command again to resume from the last checkpoint", file=sys.stderr)
        sys.exit(_INTERRUPTED)
