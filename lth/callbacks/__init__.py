"""Lightning callbacks: what happens at a level's boundary, and what watches a level; one job each."""

from lth.callbacks.draw_weights import DrawWeights
from lth.callbacks.prune import Prune
from lth.callbacks.rewind import Rewind

__all__ = ["DrawWeights", "Prune", "Rewind"]
