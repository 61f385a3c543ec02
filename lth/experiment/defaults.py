"""Which keys of a run's configuration have their defaults: a folder of an earlier version may lack those."""

from collections.abc import Callable, Mapping
from typing import Any

from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf


def default_keys(cfg: DictConfig) -> Callable[[str], bool]:
    """A function that says whether a dotted key of `cfg` was left as its group's file sets it.

    Neither the command line nor the experiment's file may have set it. What is compared are the values as they are
    written, before interpolation: `${seeds.prune}` is a default whatever the seed. Outside of a command line (in a
    test), where no groups were chosen, no key has a default.
    """
    mine, composed = OmegaConf.to_container(cfg, resolve=False), None

    def is_default(key: str) -> bool:
        nonlocal composed
        if composed is None:
            composed = _of_groups()
        return _written(composed, key) is not None and _written(composed, key) == _written(mine, key)

    return is_default


def _of_groups() -> Any:
    """The unresolved configuration that the chosen groups make by themselves, without experiment and overrides."""
    if not (HydraConfig.initialized() and GlobalHydra.instance().is_initialized()):
        return {}
    choices = HydraConfig.get().runtime.choices.items()
    chosen = [f"{group}={name}" for group, name in choices if not group.startswith("hydra/") and group != "experiment"]
    try:
        return OmegaConf.to_container(compose("config", overrides=[*chosen, "folder=none"]), resolve=False)
    except HydraException:  # the experiment adds a group that the rest does not have: no defaults are known
        return {}


def _written(config: Any, key: str) -> tuple[Any] | None:
    """The value at `key`, in a tuple, or the interpolation that stands for it or for a node around it."""
    node = config
    for part in key.split("."):
        if not isinstance(node, Mapping):
            return (node,) if isinstance(node, str) and "${" in node else None
        if part not in node:
            return None
        node = node[part]
    return (node,)
