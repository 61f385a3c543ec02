"""The identity of a series: runs that differ in their seed and their density alone."""

from typing import Any

from omegaconf import DictConfig, OmegaConf

from lth.storage.folder import DENSITY, SEED


def series_configuration(cfg: DictConfig) -> dict[str, Any]:
    """The resolved configuration with placeholders where a value follows from the seed or from `sparsity.density`.

    The placeholders are set before interpolation, so every key that refers to the seed, to one of `seeds` or to the
    density holds one, whatever its name, and a number that merely equals the density stays. Equal for all replicates
    of an experiment at all densities; `lth.report` groups runs by it. Without `folder`, `published` and `logger`.
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
