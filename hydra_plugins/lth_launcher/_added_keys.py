"""Handles `++key=value` in sweeps over methods or ladders, when only some of these have the key."""

import re
from collections.abc import Callable, Sequence
from typing import Any

from omegaconf import DictConfig

from lth.cli._errors import options_with
from lth.cli.run import CONFIGURATIONS

_ADDED = re.compile(r"\+\+(method|sparsity)\.")


def without_foreign(overrides: list[str], compose: Callable[[list[str]], DictConfig]) -> list[str]:
    """The overrides without each `++key=value` whose key the job lacks but another option of the group has.

    Otherwise the job's folder would depend on which other options the sweep contains.

    overrides: the job's overrides
    compose: returns the configuration for a list of overrides
    """
    added = {override: override[2:].partition("=")[0] for override in overrides if _ADDED.match(override)}
    foreign = {override for override, key in added.items() if options_with(key, CONFIGURATIONS, overrides)}
    if foreign:
        bare = compose([override for override in overrides if override not in added])
        foreign = {override for override in foreign if not _has(bare, added[override])}
    return [override for override in overrides if override not in foreign]


def _has(config: Any, key: str) -> bool:
    for name in key.split("."):
        if not isinstance(config, DictConfig) or name not in config:
            return False
        config = config._get_node(name)
    return True


def check_used(given: Sequence[Sequence[str]], taken: Sequence[Sequence[str]]) -> None:
    """Raise ValueError for a `++key=value` that applies to no job.

    given: the overrides of each job as the sweep composed them
    taken: the overrides with which each job runs
    """
    added = {override for overrides in given for override in overrides if _ADDED.match(override)}
    unused = sorted(added.difference(*taken))
    if unused:
        raise ValueError(f"{unused[0]}: no job of this sweep has the key, so that it would do nothing")
