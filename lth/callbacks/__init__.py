"""Lightning callbacks: what happens at a level's boundary, and what watches a level; one job each."""

from lth.callbacks.draw_weights import DrawWeights
from lth.callbacks.gradual import Gradual
from lth.callbacks.prune import Prune
from lth.callbacks.regrow import Regrow
from lth.callbacks.rewind import Rewind
from lth.callbacks.watch_topology import WatchTopology

__all__ = ["DrawWeights", "Gradual", "Prune", "Regrow", "Rewind", "WatchTopology"]
