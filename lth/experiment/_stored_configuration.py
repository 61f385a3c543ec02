"""What a run stores of its configuration: the identity of its series, and which keys have their defaults."""

from collections.abc import Callable, Mapping
from typing import Any

from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, MissingMandatoryValue, OmegaConf

from lth.storage.folder import DENSITY, SEED


def resolved(cfg: DictConfig) -> dict[str, Any]:
    """The resolved configuration. Raises ValueError naming keys without a value, such as a dataset's mean."""
    try:
        config: Any = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        missing = ", ".join(sorted(OmegaConf.missing_keys(cfg)))
        raise ValueError(f"{missing} must be set: no file of the chosen groups gives a value") from error
    return dict(config)


def series_configuration(cfg: DictConfig) -> dict[str, Any]:
    """The resolved configuration with placeholders where a value follows from the seed or from `sparsity.density`.

    The placeholders are set before interpolation, so every key that refers to the seed, to one of `seeds` or to the
    density holds one, whatever its name, and a number that merely equals the density stays. The result is equal for all
    replicates of an experiment at all densities, and `lth.report` groups runs by it. It leaves out `folder`,
    `published` and `logger`.
    """
    masked = OmegaConf.create(OmegaConf.to_container(cfg, resolve=False))
    assert isinstance(masked, DictConfig)
    masked.folder = ""  # computed from seed and density; loggers refer to it
    masked.seed = SEED
    masked.seeds = dict.fromkeys(masked.get("seeds") or {}, SEED)
    if masked.sparsity.get("density") is not None:
        masked.sparsity.density = DENSITY
    config: Any = OmegaConf.to_container(masked, resolve=True)
    return {key: value for key, value in config.items() if key not in ("folder", "published", "logger")}


def default_keys(cfg: DictConfig) -> Callable[[str], bool]:
    """A function that says whether a dotted key of `cfg` was left as its group's file sets it.

    Neither the command line nor the experiment's file may have set it. Values are compared as they are written, before
    interpolation: `${seeds.prune}` is a default whatever the seed. Outside of a command line (in a
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
    search = [override for override in HydraConfig.get().overrides.hydra if override.startswith("hydra.searchpath=")]
    try:
        config = compose(HydraConfig.get().job.config_name, overrides=[*chosen, *search, "folder=none"])
        return OmegaConf.to_container(config, resolve=False)
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
