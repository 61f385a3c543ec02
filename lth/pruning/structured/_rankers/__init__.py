"""Rankers: functions that give every unit of every weight a score; the units with the lowest scores are removed.

A ranker takes (net, masks, unit_index, batches, seed) and returns weight name -> one score per unit. It may change the
network: the caller restores it. Each module of this package whose name does not begin with `_` holds the ranker of the
same name, so that a new ranker is a new file; others are given to a rule as a `_target_`.
"""

from collections.abc import Callable
from importlib import import_module
from pkgutil import iter_modules

from torch import Tensor, nn

from lth.pruning.criterion import Batches
from lth.pruning.masks import Masks
from lth.pruning.structured.groups import UnitIndex

UnitScores = dict[str, Tensor]  # weight name -> one score per unit
Ranker = Callable[[nn.Module, Masks, UnitIndex, Batches | None, int], UnitScores]


def ranker_named(name: str) -> Ranker:
    """The ranker that a configuration names. Raises ValueError for a name without a module here."""
    names = _ranker_names()
    if name not in names:
        raise ValueError(f"ranker {name!r} is not one of {names}")
    ranker: Ranker = getattr(import_module(f"{__name__}.{name}"), name)
    return ranker


def _ranker_names() -> list[str]:
    """The names that a configuration may give as `ranker`."""
    return [module.name for module in iter_modules(__path__) if not module.name.startswith("_")]
