"""The command line: Hydra's, with the run's folder made from the configuration and errors a person can act on."""

import difflib
import os
import re
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

# overrides that do not belong in a folder's name: they are its path already, or change nothing in the result
NOT_IN_NAME = re.compile(
    r"(dataset|model|method|sparsity|sparsity\.density|dataset\.root|seed|folder|overwrite|checkpoint_seconds|threads"
    r"|logger(\..*)?|trainer\.(accelerator|devices|num_nodes|strategy|enable_.*))$"
)
LONGEST_NAME = 120  # characters; beyond it a hash stands for the rest


def command(config_dir: str) -> None:
    """Read the command line, compose the configuration and run it; the configurations lie beside the script."""
    register_resolvers()
    full = os.environ.get("HYDRA_FULL_ERROR") == "1" and os.environ.get("LTH_SHORT_ERRORS") != "1"
    if not full:  # Hydra must hand its errors to us instead of printing them and leaving
        os.environ.update(HYDRA_FULL_ERROR="1", LTH_SHORT_ERRORS="1")
    directory = Path(sys.argv[0]).resolve().parent / config_dir
    main = hydra.main(version_base="1.3", config_path=str(directory), config_name="config")(_run)
    if full:
        main()
    else:
        _with_short_errors(main, directory)


def register_resolvers() -> None:
    """Make `${lth.folder:seed,density}` and `${lth.choice:group}` known to OmegaConf."""
    OmegaConf.register_new_resolver("lth.folder", _folder, replace=True)
    OmegaConf.register_new_resolver("lth.choice", _choice, replace=True)


def _run(cfg: DictConfig) -> float | None:
    from lth.experiment.loop import run  # imported late: --help and mistakes should not wait for torch

    return run(cfg)


class JudgeSweep(Callback):
    """Prints the verdict of the sanity checks once a sweep is over, and writes it beside the runs."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        from lth.cli.verdict import judge

        given = dict(override.partition("=")[::2] for override in config.hydra.overrides.task)
        choices = config.hydra.runtime.choices
        root = Path("runs") / choices.dataset / choices.model
        if "folder" in given:
            root = Path(given["folder"].strip("'\"").partition("$")[0])
        print(judge([str(root)], root / "verdict"))


def _choice(group: str) -> str:
    return str(HydraConfig.get().runtime.choices[group]) if HydraConfig.initialized() else "unnamed"


def _folder(seed: int, density: float | None) -> str:
    config = HydraConfig.get()
    choices = {group: str(choice) for group, choice in config.runtime.choices.items()}
    return folder_name(choices, list(config.overrides.task), seed, density)


def folder_name(choices: dict[str, str], overrides: list[str], seed: int, density: float | None) -> str:
    """runs/<dataset>/<model>/<method>-<sparsity>-<density>[/<other overrides>]/seed<k>: a function of the command line.

    The same alone and in a sweep; where a run happens (`trainer=ddp`) is not part of its name.
    """
    given = dict(override.lstrip("+~").partition("=")[::2] for override in overrides)
    named = {k: v for k, v in given.items() if not NOT_IN_NAME.match(k) and (k, v) != ("trainer", choices["trainer"])}
    if choices["trainer"] == "debug":
        named["trainer"] = "debug"
    named = {k: v.replace("/", "-") if k in choices else v for k, v in named.items()}  # experiment=<paper>/<name>
    name = ",".join(f"{k}={v}" for k, v in sorted(named.items()))
    method = f"{choices['method']}-{choices['sparsity']}" + (f"-{density:g}" if density is not None else "")
    return "/".join(["runs", choices["dataset"], choices["model"], method, *_short(name), f"seed{seed}"])


def _short(name: str) -> list[str]:
    clean = re.sub(r"[^\w.,=+@-]+", "_", name)[:LONGEST_NAME]
    if clean == name:
        return [clean] if name else []
    return [f"{clean}-{sha256(name.encode()).hexdigest()[:8]}"]


INTERRUPTED = 130  # exit code after Ctrl-C, as shells have it


def _with_short_errors(main: Callable[[], Any], directory: Path) -> None:
    """Run; show a mistake of the user's as one message, anything else with its traceback."""
    try:
        main()
    except HydraException as error:
        sys.exit(f"error: {explain(error, directory)}")
    except (ValueError, FileNotFoundError, FloatingPointError, ImportError) as error:
        sys.exit(f"error: {error}")
    except (KeyboardInterrupt, SystemExit) as left:
        if not isinstance(left, KeyboardInterrupt) and not isinstance(left.__context__, KeyboardInterrupt):
            raise
        print("stopped; the same command goes on from the last checkpoint", file=sys.stderr)  # Lightning says nothing
        sys.exit(INTERRUPTED)


def explain(error: HydraException, directory: Path) -> str:
    """Hydra's message with the nearest valid names, or the mistake that a part of the configuration reported."""
    cause = error.__cause__
    if isinstance(error, InstantiationException) and isinstance(cause, Exception):
        where = re.search(r"full_key: (\S+)", str(error))
        return f"{cause}" + (f" (in {where[1]})" if where else "")
    message = str(error)
    if "mismatched input '='" in message:
        wrong = next((a for a in sys.argv[1:] if a.count("=") > 1 and not re.search(r"=['\"]", a)), "key=a=b")
        name, _, value = wrong.partition("=")
        return f"a value with = in it wants quotes, and the shell its own around them: '{name}=\"{value}\"'"
    experiment = re.search(r"Could not find 'experiment/([^']+)'", message)
    if experiment:
        near = _nearest(experiment[1], _experiments(directory))
        page = "docs/recipes.md lists all; docs/renamed_experiments.md gives the new names of old ones"
        return f"there is no experiment {experiment[1]}{near} ({page})"
    option = re.search(r"Could not find '([^']+)/([^/']+)'", message)
    if option:
        options = re.findall(r"^\t([^_\s]\S*)$", message, re.MULTILINE)  # files that begin with _ are parts of options
        return f"{option[1]}={option[2]} is not one of {options}{_nearest(option[2], options)}"
    key = re.search(r"Could not override '([^']+)'|Key '([^']+)' is not in struct", message)
    if key:
        wrong = (key[1] or key[2]).lstrip("+~").partition("=")[0]
        group = wrong.partition(".")[0]
        if any(re.match(rf"{group}=.*,", argument) for argument in sys.argv):
            return f"not every {group} of this sweep has the key {wrong!r}; write ++{wrong}=... for those that do"
        return f"there is no key {wrong!r}{_nearest(wrong, _keys(directory))}"
    return message


def _nearest(wrong: str, valid: list[str]) -> str:
    near = [name for name in valid if name.lower() == wrong.lower()]
    near += [name for name in difflib.get_close_matches(wrong, valid, n=3, cutoff=0.5) if name not in near]
    near += [k for k in valid if k.rpartition(".")[2] == wrong.rpartition(".")[2] and k not in near][:3]
    return f"; did you mean {' or '.join(near)}?" if near else ""


def _experiments(directory: Path) -> list[str]:
    files = (directory / "experiment").glob("*/*.yaml")
    return sorted(file.relative_to(directory / "experiment").as_posix().removesuffix(".yaml") for file in files)


def _keys(directory: Path) -> list[str]:
    """The keys of the configuration that the group choices on the command line make, and the groups themselves."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()
    folders = sorted(p.relative_to(directory).as_posix() for p in directory.rglob("*") if p.is_dir())
    groups = [folder for folder in folders if not folder.startswith("experiment/")]
    chosen = [a for a in sys.argv[1:] if a.partition("=")[0] in groups and "," not in a]
    with initialize_config_dir(str(directory), version_base="1.3"):
        config = compose("config", overrides=[*chosen, "folder=none"])
    return list(dict.fromkeys([*groups, *_flat(OmegaConf.to_container(config), "")]))


def _flat(node: Any, prefix: str) -> list[str]:
    if not isinstance(node, dict):
        return [prefix]
    return [prefix, *(k for key, value in node.items() for k in _flat(value, f"{prefix}.{key}".lstrip(".")))]
