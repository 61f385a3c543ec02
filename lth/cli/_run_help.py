"""What `lth run --help` prints: how to call it, the groups, and options of the user's own."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from lth.cli._own_parts import configuration_folders

_USAGE = """\
usage: lth run [OPTION ...] [GROUP=NAME ...] [KEY=VALUE ...]

  lth run method=imp model=resnet20 dataset=cifar10 sparsity.density=0.1
  lth run -m method=imp,wr seed=0,1,2      a sweep: every combination, one run each
  lth run method=rigl --cfg job            the whole configuration, without running it
  lth run --config-dir FOLDER model=mine   options of your own, in FOLDER/model/mine.yaml
  lth run --hydra-help                     Hydra's own options
"""


def help_text(directory: Path, arguments: Sequence[str]) -> str:
    """The help for a command line.

    directory: folder of lth's configurations
    arguments: the command line; options in the folders that it names are listed too
    """
    from lth.cli._help import explain  # at module level this would be a circular import

    own = _groups([folder for folder in configuration_folders(directory, arguments) if folder != directory])
    listed = [f"  {name}: {', '.join(options)}" for name, options in own.items()]
    mine = ["", "options of your own:", *listed] if own else []
    return "\n".join([_USAGE, explain("", shutil.get_terminal_size().columns) or "", *mine])


def _groups(folders: Sequence[Path]) -> dict[str, list[str]]:
    """Group -> names of its options. Files that begin with `_` are shared parts of options and are left out."""
    found: dict[str, set[str]] = {}
    for folder in folders:
        for path in folder.rglob("*.yaml"):
            group = path.parent.relative_to(folder).as_posix()
            if group != "." and not path.name.startswith("_"):
                found.setdefault(group, set()).add(path.stem)
    return {group: sorted(found[group]) for group in sorted(found)}
