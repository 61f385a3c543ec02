"""Composes the configurations of a sweep's jobs. Files that jobs share are read once: thirty files take 0.4 s."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import cache
from typing import Any

from hydra._internal.config_loader_impl import get_overrides_dirname
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException


class SweepConfigurations:
    """Composes the configuration of a job as Hydra's `load_sweep_config` does.

    Hydra composes each choice of options (`method=snip`) once. Values (`recipe.lr=0.1`) are then set in a copy of it,
    which takes a tenth of the time.

    loader: Hydra's configuration loader
    """

    def __init__(self, loader: ConfigLoader):
        self._by_hydra: Callable[[DictConfig, list[str]], DictConfig] = loader.load_sweep_config
        self._composed: dict[tuple[str, ...], DictConfig] = {}
        self._is_group = cache(lambda name: bool(loader.get_group_options(name, None)))  # None: folders too

    def __call__(self, master_config: DictConfig, sweep_overrides: Sequence[str]) -> DictConfig:
        """The configuration of one job.

        master_config: configuration of the sweep
        sweep_overrides: the job's overrides
        """
        given = OverridesParser.create().parse_overrides(list(sweep_overrides))
        choices = tuple(str(one.input_line) for one in given if self._is_group(one.key_or_group))
        values = [one for one in given if not self._is_group(one.key_or_group)]
        if not all(map(_sets_a_value, values)):
            return self._by_hydra(master_config, list(sweep_overrides))
        if choices not in self._composed:
            self._composed[choices] = self._by_hydra(master_config, list(choices))
        config = deepcopy(self._composed[choices])
        try:
            for one in values:
                OmegaConf.update(config, one.key_or_group, one.value(), merge=True)
        except OmegaConfBaseException:  # compose again, for Hydra's error message
            return self._by_hydra(master_config, list(sweep_overrides))
        _note(config, given)
        return config


def _sets_a_value(override: Override) -> bool:
    """Whether the override only changes the value of an existing key that is not one of Hydra's own."""
    changes_keys = override.is_add() or override.is_force_add() or override.is_delete()
    return not changes_keys and override.package is None and not override.is_hydra_override()


def _note(config: DictConfig, given: Sequence[Override]) -> None:
    """Record the job's overrides in the configuration's node `hydra`."""
    config.hydra.overrides.task = [one.input_line for one in given]
    names: Any = config.hydra.job.config.override_dirname
    config.hydra.job.override_dirname = get_overrides_dirname(
        list(given), exclude_keys=names.exclude_keys, item_sep=names.item_sep, kv_sep=names.kv_sep
    )
