"""Allocations from given layer densities."""

import json
from collections.abc import Mapping
from pathlib import Path

from lth.pruning.allocation.counts import amount, apportion, available
from lth.pruning.topk import Scores

# The units a file may declare, and their conversion to density.
_UNITS = {
    "density": lambda value: value,
    "sparsity": lambda value: 1 - value,
    "percent_kept": lambda value: value / 100,
    "percent_pruned": lambda value: 1 - value / 100,
}


def in_proportion(scores: Scores, density: float, *, kept: Mapping[str, float]) -> dict[str, int]:
    """Counts in proportion to `kept` (layer -> number), scaled to the density.

    Raises ValueError unless `kept` has exactly the layers of the network.
    """
    missing, unknown = [n for n in scores if n not in kept], [n for n in kept if n not in scores]
    if missing or unknown:
        raise ValueError(f"the given layer densities do not fit the network: missing {missing}, unknown {unknown}")
    return apportion({n: float(kept[n]) for n in scores}, amount(scores, density), available(scores))


def from_densities(scores: Scores, density: float, *, path: str | None) -> dict[str, int]:
    """Layer densities from a JSON file {"unit": ..., "layers": {name: value}}, scaled to the density asked for.

    path: the JSON file; its unit is density, sparsity, percent_kept or percent_pruned

    Raises ValueError for another unit, for densities outside 0..1, and if the layers are not those of the network.
    """
    if path is None:
        raise ValueError("from_densities needs the path of its table: method.allocation.path=FILE.json")
    try:
        table = json.loads(Path(path).read_text())
        numbers = {name: float(value) for name, value in table["layers"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f'{path} is no table {{"unit": ..., "layers": {{name: number}}}} ({error!r})') from None
    if table.get("unit") not in _UNITS:
        raise ValueError(f"{path} must declare its unit, one of {list(_UNITS)}; it says {table.get('unit')!r}")
    densities = {name: _UNITS[table["unit"]](value) for name, value in numbers.items()}
    outside = {name: d for name, d in densities.items() if not 0 <= d <= 1}
    if outside:
        raise ValueError(f"{path}: these are no densities in the unit {table['unit']!r}: {outside}")
    sizes = {name: scores[name].numel() if name in scores else 0 for name in densities}
    return in_proportion(scores, density, kept={n: d * sizes[n] for n, d in densities.items()})
