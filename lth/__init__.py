"""Lottery-ticket and pruning research in one PyTorch Lightning + Hydra harness.

Scripts use `lth.Masks`, `lth.prune`, `lth.Ticket`, `lth.Times`, `lth.levels`, ladders such as `lth.geometric`, and the
packages `lth.allocation`, `lth.callbacks`, `lth.criteria`. Each is imported at its first use, because importing torch
and Lightning takes seconds.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lth import callbacks as callbacks
    from lth.experiment.levels import levels as levels
    from lth.plan import Times as Times
    from lth.pruning import Masks as Masks
    from lth.pruning import allocation as allocation
    from lth.pruning import criteria as criteria
    from lth.pruning import prune as prune
    from lth.pruning.ladder import geometric as geometric
    from lth.pruning.ladder import linear as linear
    from lth.tickets import Ticket as Ticket

__version__ = "0.2.0"

_FOUND_IN = {
    "Masks": "lth.pruning",
    "Ticket": "lth.tickets",
    "Times": "lth.plan",
    "allocation": "lth.pruning",
    "criteria": "lth.pruning",
    "geometric": "lth.pruning.ladder",
    "levels": "lth.experiment.levels",
    "linear": "lth.pruning.ladder",
    "prune": "lth.pruning",
}
_PACKAGES = ("callbacks",)

__all__ = [*_FOUND_IN, *_PACKAGES]


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return import_module(f"lth.{name}")
    if name in _FOUND_IN:
        return getattr(import_module(_FOUND_IN[name]), name)
    raise AttributeError(f"module 'lth' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
