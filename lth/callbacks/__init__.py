"""Lightning callbacks: what happens at a level's boundary, and what watches a level; one job each."""

from lth.callbacks.batch_norm import BatchNorm
from lth.callbacks.draw_weights import DrawWeights
from lth.callbacks.drop_half import DropHalf
from lth.callbacks.gradual import Gradual
from lth.callbacks.prune import Prune
from lth.callbacks.regrow import Regrow
from lth.callbacks.rescale import Rescale
from lth.callbacks.rewind import Rewind
from lth.callbacks.scheduled import Scheduled
from lth.callbacks.treat import Treat
from lth.callbacks.watch_topology import WatchTopology
from lth.callbacks.whole_units import WholeUnits

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
