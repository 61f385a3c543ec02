"""A user's own parts: code in the current folder, and configurations in folders of the user's own."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from omegaconf import DictConfig


def import_from_here() -> None:
    """Let modules in the current folder be imported, as `python -m` does and a console script does not.

    With `python -P` or PYTHONSAFEPATH, which ask for the opposite, nothing changes.
    """
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path and not getattr(sys.flags, "safe_path", False):
        sys.path.insert(0, here)


def configuration_folders(directory: Path, arguments: Sequence[str]) -> list[Path]:
    """All folders that configurations are composed from: that of lth, then those of the user.

    directory: folder of lth's configurations
    arguments: the command line: --config-dir, --config-path and hydra.searchpath are found in it
    """
    from hydra.errors import HydraException  # imported here: Hydra takes a second

    try:
        return composed(directory, arguments, [])[1]
    except HydraException:
        return [_main_folder(directory, arguments)]


def composed(directory: Path, arguments: Sequence[str], overrides: Sequence[str]) -> tuple["DictConfig", list[Path]]:
    """The configuration that `overrides` make, and all folders that configurations are composed from.

    directory: folder of lth's configurations
    arguments: the command line, which may name other folders
    """
    from hydra import compose, initialize_config_dir  # imported here: Hydra takes a second
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf import OmegaConf

    main = _main_folder(directory, arguments)
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(main), version_base="1.3"):
        kept = [override for override in overrides if not override.startswith("hydra.searchpath=")]
        given = [*kept, *search_path_override(arguments)]
        config = compose(hydra_options(arguments).config_name, overrides=given, return_hydra_config=True)
    folders = [_folder(source) for source in config.hydra.runtime.config_sources]
    task = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    return task, [main, *(folder for folder in folders if folder not in (None, main))]


def _main_folder(directory: Path, arguments: Sequence[str]) -> Path:
    path = hydra_options(arguments).config_path
    return Path(path).resolve() if path else directory


def options_first(arguments: Sequence[str]) -> list[str]:
    """A command line with Hydra's options before the overrides.

    Hydra refuses overrides on both sides of an option, and Lightning appends overrides to a rank's command line.
    """
    from hydra._internal.utils import get_args_parser

    actions = get_args_parser()._option_string_actions
    options: list[str] = []
    overrides: list[str] = []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        (options if word.startswith("-") else overrides).append(word)
        action = actions.get(word)
        if action is None or action.nargs == 0 or not rest:
            continue
        if action.nargs is None or (action.choices and rest[0] in action.choices):  # one value, or an optional one
            options.append(rest.pop(0))
    return [*options, *overrides]


def hydra_options(arguments: Sequence[str]) -> Any:
    """Hydra's own options in a command line: config_name (default: config), config_dir and config_path."""
    from hydra._internal.utils import get_args_parser

    parser = get_args_parser()
    parser.set_defaults(config_name="config")
    return parser.parse_known_args(list(arguments))[0]


def search_path_override(arguments: Sequence[str]) -> list[str]:
    """The override `hydra.searchpath=[...]` with the folders that `arguments` name; empty where they name none."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    given = hydra_options(arguments)
    written = [text for text in given.overrides if text.startswith("hydra.searchpath=")]
    folders = [f"file://{Path(given.config_dir).resolve()}"] if given.config_dir else []
    for override in OverridesParser.create().parse_overrides(written):
        value: Any = override.value()
        folders += map(str, value or [])
    return [f"hydra.searchpath={folders}"] if folders else []


def _folder(source: Any) -> Path | None:
    """The folder of one of Hydra's sources; None for Hydra's own source and for sources that are not folders."""
    if source.provider == "hydra":
        return None
    if source.schema == "file":
        return Path(source.path).resolve()
    if source.schema == "pkg":
        from importlib.resources import files

        folder = files(source.path)
        return folder if isinstance(folder, Path) else None
    return None
