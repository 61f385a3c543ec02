"""Topology: masks that change while the weights train. Which kept weights are dropped, and where new ones grow.

Everything here is a pure function of a layer's weights, mask and dense gradient; `lth.callbacks.Regrow` and
`lth.callbacks.Gradual` apply them within a level.
"""

from lth.pruning.topology.layer import Site
from lth.pruning.topology.move import move

__all__ = ["Site", "move"]
