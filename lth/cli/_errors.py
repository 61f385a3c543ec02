"""Turns mistakes of the user into one line that names the cause and, for a wrong name, the nearest valid one."""

import difflib
import errno
import re
import sys
from argparse import ArgumentError
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from lth.cli._own_parts import composed, configuration_folders, hydra_options, search_path_override
from lth.cli._value_tables import lines
from lth.training.signals import listen

_SHOWN = 6  # options in a message
_MISTAKES = (ValueError, FloatingPointError, ImportError)
# errno of an OSError -> what the user can do
_REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "free space or files there, then run the same command again"),
    errno.EMFILE: "close files or raise `ulimit -n`, then run the same command again",
    errno.EIO: "check the disk, then run the same command again",
    errno.EROFS: "make it writable, or choose another folder",
    **dict.fromkeys((errno.EACCES, errno.EPERM), "get the permission, or choose another folder"),
    **dict.fromkeys(
        (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP), "choose a folder on a file system that can lock files"
    ),
    errno.ENAMETOOLONG: "choose a shorter name, for example with folder=...",
    **dict.fromkeys((errno.ENOTDIR, errno.EEXIST, errno.EISDIR), "choose another folder"),
    errno.ESTALE: "check the network file system, then run the same command again",
}


@contextmanager
def short_errors() -> Iterator[None]:
    """Exit with `error: ...` and code 1 for a mistake of the user or an error of the file system.

    Other exceptions keep their traceback. Signals end the command as they end a run before training.
    """
    listen(training=False)  # before the imports, which take seconds
    try:
        yield
    except _MISTAKES as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        sys.exit(f"error: {_of_file_system(error)}")


def _of_file_system(error: OSError) -> str:
    """One line that names the file and what to do."""
    if error.errno is None or error.strerror is None:  # a library's own words
        return " ".join(str(error).split())
    files = " -> ".join(str(name) for name in (error.filename, error.filename2) if name is not None)
    remedy = _REMEDIES.get(error.errno, "")
    return ": ".join(filter(None, (files, error.strerror))) + (f"; {remedy}" if remedy else "")


@contextmanager
def hydra_errors(directory: Path, overrides: Sequence[str]) -> Iterator[None]:
    """Raise ValueError with a readable message for Hydra's exceptions.

    directory: folder of lth's configurations, for the valid names; those of the user's own folders are valid too
    overrides: the command line
    """
    from hydra.errors import HydraException  # imported here: Hydra takes a second

    try:
        yield
    except HydraException as error:
        raise ValueError(" ".join(_explain(error, directory, overrides).split())) from None
    except yaml.YAMLError as error:
        raise ValueError(f"a configuration file is not valid YAML: {' '.join(str(error).split())}") from None


def nearest(wrong: str, valid: Sequence[str]) -> str:
    """`; did you mean a or b?` for the valid names nearest to `wrong`, or an empty string."""
    same = [name for name in valid if name.lower() == wrong.lower()]
    close = difflib.get_close_matches(wrong, valid, n=3, cutoff=0.5)
    last = sorted((name for name in valid if name.rpartition(".")[2] == wrong.rpartition(".")[2]), key=len)[:3]
    near = list(dict.fromkeys([*same, *close, *last] if "." in wrong or not last else [*same, *last]))
    return f"; did you mean {' or '.join(near)}?" if near else ""


def check_options(arguments: Sequence[str]) -> None:
    """Raise ValueError for an option that Hydra's command line does not have, and for one that lacks its value."""
    from hydra._internal.utils import get_args_parser

    parser = get_args_parser()
    parser.exit_on_error = False
    try:
        unknown = [word for word in parser.parse_known_args(list(arguments))[1] if word.startswith("-")]
    except ArgumentError as error:
        raise ValueError(str(error)) from None
    if unknown:
        near = nearest(unknown[0].partition("=")[0], list(parser._option_string_actions))
        raise ValueError(f"there is no option {unknown[0]}{near}")


def check_added(directory: Path, overrides: Sequence[str]) -> None:
    """Raise ValueError for `++key=...` where no option of the key's group has the key.

    Hydra itself accepts every such key. Only keys with one dot in the groups `method`, `sparsity` and `recipe` are
    checked; others may be arguments of a user's own parts.
    """
    for override in overrides:
        found = re.match(r"\+\+((method|sparsity|recipe)\.\w+)=", override)
        if found and not options_with(found[1], directory, overrides):
            known = [line.key for line in lines() if line.group == found[2]]
            if not any(line.matches(found[1]) for line in lines()):
                raise ValueError(f"no option of {found[2]} has the key {found[1]!r}{nearest(found[1], known)}")


def _explain(error: Exception, directory: Path, overrides: Sequence[str]) -> str:
    """Hydra's message with the nearest valid names, or the message of the part that could not be built."""
    from hydra.errors import InstantiationException, OverrideParseException

    cause, message = error.__cause__, str(error)
    if isinstance(error, InstantiationException) and isinstance(cause, Exception):
        where = re.search(r"full_key: (\S+)", message)
        called = isinstance(cause, TypeError) and "missing" in str(cause) and "argument" in str(cause)
        hint = "; parts of a method are called during the run: their YAML files need _partial_: true" if called else ""
        return f"{cause}" + (f" (in {where[1]})" if where else "") + hint
    if "mismatched input '='" in message:
        wrong = next((o for o in overrides if o.count("=") > 1 and not re.search(r"=['\"]", o)), "key=a=b")
        name, _, value = wrong.partition("=")
        return f"a value that contains = must be quoted, and once more for the shell: '{name}=\"{value}\"'"
    if "Ambiguous value" in message or isinstance(error, OverrideParseException):
        return _unreadable(error, message)
    experiment = re.search(r"Could not find 'experiment/([^']+)'", message)
    if experiment:
        near = nearest(experiment[1], _experiments(directory, overrides))
        page = "`lth help experiment` lists the papers; docs/renamed_experiments.md lists old and new names"
        return f"there is no experiment {experiment[1]}{near} ({page}){_own_folder(overrides)}"
    option = re.search(r"Could not find '([^']+)/([^/']+)'", message)
    if option:
        options = re.findall(r"^\t([^_\s]\S*)$", message, re.MULTILINE)  # files that begin with _ are parts of options
        near = nearest(option[2], options)
        return f"there is no {option[1]}={option[2]}{near or ';'} valid: {', '.join(options)}{_own_folder(overrides)}"
    base = re.search(r"In '(.+)': Could not load '(.+)/(.+)'", message)
    if base:
        folders = [folder / base[2] for folder in configuration_folders(directory, overrides)]
        names = sorted({file.stem for folder in folders for file in folder.glob("*.yaml")})
        return f"{base[1]}.yaml starts from {base[2]}/{base[3]}.yaml, which does not exist{nearest(base[3], names)}"
    merged = re.search(r"Error merging override (.*)", message)
    if merged:
        return f"{merged[1]}: the key holds a mapping or a list, and the new value is of another type"
    key = re.search(r"Could not override '([^']+)'|Key '([^']+)' is not in struct", message)
    if key:
        return _no_key((key[1] or key[2]).lstrip("+~").partition("=")[0], directory, overrides)
    return message


def _no_key(wrong: str, directory: Path, overrides: Sequence[str]) -> str:
    """Message for a key that the configuration does not have: what to write instead."""
    group, groups = wrong.partition(".")[0], _groups(directory, overrides)
    having = options_with(wrong, directory, overrides)
    swept = [name for name in groups if any(re.match(rf"{re.escape(name)}=.*,", override) for override in overrides)]
    if group in swept or (swept and having):
        every = group if group in swept else swept[0]
        return f"not every {every} of this sweep has the key {wrong!r}; write ++{wrong}=... for those that do"
    if having:
        names = ", ".join(having[:_SHOWN]) + (", ..." if len(having) > _SHOWN else "")
        return f"the {group} chosen here, or by the method, has no key {wrong!r}; these have: {names}"
    config = _configuration(directory, overrides)
    parts = [name for name in groups if "/" in name and name.rpartition("/")[2] == wrong]
    if parts:
        return f"there is no key {wrong!r}; did you mean {' or '.join(parts)}?"
    keys = list(dict.fromkeys([*groups, *_dotted(config, "")]))
    return f"there is no key {wrong!r}{nearest(wrong, keys)}{_addition(wrong, config)}"


def options_with(key: str, directory: Path, overrides: Sequence[str]) -> list[str]:
    """The options of a key's group, as `group=option`, whose files have the key."""
    group, _, below = key.partition(".")
    found = set()
    for folder in configuration_folders(directory, overrides):
        for file in (folder / group).glob("[!_]*.yaml"):
            content = yaml.safe_load(file.read_text())
            if below and below in _dotted(content, "")[1:]:
                found.add(f"{group}={file.stem}")
    return sorted(found)


def _unreadable(error: Exception, message: str) -> str:
    """The message for an override that Hydra cannot parse, or that lists several values without -m."""
    ambiguous = re.search(r"Ambiguous value for argument '((.+?)=(.*))'", message)
    if ambiguous:
        key, values = ambiguous[2], ambiguous[3]
        return f"{ambiguous[1]}: a list is written {key}=[{values}], and a sweep over the values needs -m"
    override = getattr(error, "override", "")
    return f"{override!r} is not of the form key=value ({message.splitlines()[0]}); quote values with spaces or symbols"


def _addition(wrong: str, config: Any) -> str:
    """How to set an argument of a user's own part that the part's file does not list; empty for other keys."""
    for name in wrong.split(".")[:-1]:
        config = config.get(name) if isinstance(config, dict) else None
    target = config.get("_target_") if isinstance(config, dict) else None
    own = isinstance(target, str) and not target.startswith(("lth.", "torch."))
    return f" (to set an argument of {target} that its file does not list: +{wrong}=...)" if own else ""


def _own_folder(overrides: Sequence[str]) -> str:
    """Hint on how to name a folder with the user's options; empty if the command line names one."""
    if search_path_override(overrides) or hydra_options(overrides).config_path:
        return ""
    return " (options of your own: --config-dir FOLDER, or 'hydra.searchpath=[file:///FOLDER]')"


def _experiments(directory: Path, overrides: Sequence[str]) -> list[str]:
    roots = [folder / "experiment" for folder in configuration_folders(directory, overrides)]
    files = {file.relative_to(root) for root in roots for file in root.rglob("[!_]*.yaml")}
    return sorted(file.as_posix().removesuffix(".yaml") for file in files)


def _groups(directory: Path, overrides: Sequence[str]) -> list[str]:
    roots = configuration_folders(directory, overrides)
    folders = sorted({p.relative_to(root).as_posix() for root in roots for p in root.rglob("*") if p.is_dir()})
    return [folder for folder in folders if not folder.startswith("experiment/")]


def _configuration(directory: Path, overrides: Sequence[str]) -> Any:
    """The configuration that the chosen groups make, without other overrides; empty where a choice is wrong too."""
    from hydra.errors import HydraException
    from omegaconf import OmegaConf

    groups = _groups(directory, overrides)
    chosen = [o for o in overrides if o.partition("=")[0] in groups and "," not in o]
    try:
        return OmegaConf.to_container(composed(directory, overrides, [*chosen, "folder=none"])[0])
    except HydraException:
        return {}


def _dotted(node: Any, prefix: str) -> list[str]:
    if not isinstance(node, dict):
        return [prefix]
    return [prefix, *(k for key, value in node.items() for k in _dotted(value, f"{prefix}.{key}".lstrip(".")))]
