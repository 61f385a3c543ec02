"""Lightning callbacks: what happens at a level's boundary, and what watches a level; one job each."""

from lth.callbacks.boundary.batch_norm import BatchNorm
from lth.callbacks.boundary.control import Treat
from lth.callbacks.boundary.draw_weights import DrawWeights
from lth.callbacks.boundary.prune import Prune
from lth.callbacks.boundary.prune_bias_and_norm import WholeUnits
from lth.callbacks.boundary.rewind import Rewind
from lth.callbacks.watch.topology import WatchTopology
from lth.callbacks.within.gradual import Gradual
from lth.callbacks.within.regrow import Regrow
from lth.callbacks.within.rescale import Rescale
from lth.callbacks.within.rescore_by_magnitude import DropHalf
from lth.callbacks.within.scheduled import Scheduled

__all__ = [
    "BatchNorm",
    "DrawWeights",
    "DropHalf",
    "Gradual",
    "Prune",
    "Regrow",
    "Rescale",
    "Rewind",
    "Scheduled",
    "Treat",
    "WatchTopology",
    "WholeUnits",
]
