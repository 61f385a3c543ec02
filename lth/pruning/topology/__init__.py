"""Dynamic sparse training: which kept weights an update drops, and where new ones grow.

Pure functions of a layer's weights, mask and dense gradient; `lth.callbacks.Regrow` applies them within a level.
"""

from lth.pruning.topology.layer import Layer
from lth.pruning.topology.move import Update, move

__all__ = ["Layer", "Update", "move"]
