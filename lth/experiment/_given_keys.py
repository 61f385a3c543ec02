"""The keys that the user set, on the command line or in the file of an experiment."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

_CHOICE = re.compile(r"(override )?/?(?P<group>[^@]+)(@(?P<package>.+))?")  # an entry of a defaults list
_NOT_KEYS_OF_A_RUN = (
    "defaults",
    "published",
    "hydra",
)  # keys of an experiment's file that are not checked as keys of a run


@dataclass(frozen=True)
class Given:
    """A key that the user set.

    path: the key with dots; for a choice of an option, the place where its group is composed
    written: the text as the user wrote it
    experiment: the experiment whose file sets it; empty for the command line
    """

    path: str
    written: str
    experiment: str = ""


def given() -> list[Given]:
    """The keys of the present command line and of its experiment; none outside of a command line, as in a test."""
    if not (HydraConfig.initialized() and GlobalHydra.instance().is_initialized()):
        return []
    choices = HydraConfig.get().runtime.choices
    on_line = on_command_line(list(HydraConfig.get().overrides.task), lambda group: group in choices)
    experiment = choices.get("experiment")
    return on_line + (in_experiment(experiment, load) if experiment else [])


def on_command_line(overrides: Sequence[str], is_group: Callable[[str], bool]) -> list[Given]:
    """The keys that overrides set, without those of Hydra and those with `++`, which need not exist.

    is_group: whether a key, such as `recipe/schedule`, is a group of options
    """
    found = []
    for text, override in zip(overrides, OverridesParser.create().parse_overrides(list(overrides)), strict=True):
        key, package = override.key_or_group, override.package
        if override.is_delete() or override.is_force_add() or key.startswith("hydra") or key == "experiment":
            continue
        chooses = is_group(key if package is None else f"{key}@{package}")
        found.append(Given(_place(key, package) if chooses else key, text.lstrip("+")))
    return found


def forced() -> set[str]:
    """The keys of the present command line that begin with `++`; none outside of a command line."""
    if not HydraConfig.initialized():
        return set()
    overrides = OverridesParser.create().parse_overrides(list(HydraConfig.get().overrides.task))
    return {override.key_or_group for override in overrides if override.is_force_add()}


def in_experiment(name: str, read: Callable[[str], Mapping[str, Any]]) -> list[Given]:
    """The keys that the file of an experiment sets, and the files that it builds on.

    read: content of a file by its path below `conf/`, without its ending
    """
    return [key for file, content in _files(f"experiment/{name}", read) for key in _in_file(file, content)]


def load(name: str) -> Mapping[str, Any]:
    """The content of a configuration file by its path below `conf/`, without its ending, as it is written."""
    for source in GlobalHydra.instance().config_loader().get_sources():
        if source.is_config(name):
            content: Any = OmegaConf.to_container(source.load_config(name).config, resolve=False)
            return content or {}
    return {}


def _files(name: str, read: Callable[[str], Mapping[str, Any]]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """A configuration file, then those that it builds on."""
    content = read(name)
    yield name, content
    for entry in content.get("defaults", []):
        if isinstance(entry, str) and entry != "_self_":
            above = entry.removeprefix("/") if entry.startswith("/") else f"{name.rpartition('/')[0]}/{entry}"
            yield from _files(above, read)


def _in_file(name: str, content: Mapping[str, Any]) -> Iterator[Given]:
    source = name.removeprefix("experiment/")
    choices = {k: v for entry in content.get("defaults", []) if isinstance(entry, Mapping) for k, v in entry.items()}
    for entry, option in choices.items():
        match = _CHOICE.fullmatch(str(entry))
        if match and not match["group"].startswith(("hydra", "experiment")):
            written = str(entry).removeprefix("override ").removeprefix("/")
            yield Given(_place(match["group"], match["package"]), f"{written}={option}", source)
    for key, value in _leaves({key: value for key, value in content.items() if key not in _NOT_KEYS_OF_A_RUN}):
        yield Given(key, f"{key}={_shown(value)}", source)


def _place(group: str, package: str | None) -> str:
    """Where an option of a group is composed."""
    return (package or group.replace("/", ".")).removeprefix("_global_.")


def _leaves(content: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in content.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def _shown(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)
