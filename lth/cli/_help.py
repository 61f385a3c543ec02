"""What `lth run --help` prints: the groups with their options, and the keys of the configuration."""

from collections.abc import Sequence
from pathlib import Path

from lth.cli._own_parts import composed, hydra_options

_USAGE = """\
usage: lth run [OPTION ...] [GROUP=NAME ...] [KEY=VALUE ...]

  lth run method=imp model=resnet20 dataset=cifar10 sparsity.density=0.1
  lth run -m method=imp,wr seed=0,1,2      a sweep: every combination, one run each
  lth run method=rigl --help               the keys of another choice
  lth run --config-dir FOLDER model=mine   options of your own, in FOLDER/model/mine.yaml
  lth run --hydra-help                     Hydra's own options
"""


def help_text(directory: Path, arguments: Sequence[str]) -> str:
    """The help for a command line, whose choices decide which keys there are.

    directory: folder of lth's configurations
    """
    from omegaconf import OmegaConf

    config, folders = composed(directory, arguments, hydra_options(arguments).overrides)
    groups = [f"  {name}: {', '.join(options)}" for name, options in _groups(folders).items()]
    keys = [f"  {line}" for line in OmegaConf.to_yaml(config).splitlines()]
    return "\n".join([_USAGE, "groups (GROUP=NAME):", *groups, "", "keys with their values (KEY=VALUE):", *keys])


def _groups(folders: Sequence[Path]) -> dict[str, list[str]]:
    """Group -> names of its options. A name that begins with _ is that of a part of options."""
    found: dict[str, set[str]] = {}
    for folder in folders:
        for path in folder.rglob("*.yaml"):
            group = path.parent.relative_to(folder).as_posix()
            if group != "." and not path.name.startswith("_"):
                found.setdefault(group, set()).add(path.stem)
    return {group: sorted(found[group]) for group in sorted(found)}
