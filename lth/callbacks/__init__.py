"""Lightning callbacks: `boundary` before a level's first step, `within` during a level, `watch` to record and check."""

from lth.callbacks._after_step import AfterStep
from lth.callbacks.boundary.batch_norm import BatchNorm
from lth.callbacks.boundary.control import Control
from lth.callbacks.boundary.draw_weights import DrawWeights
from lth.callbacks.boundary.prune_bias_and_norm import PruneBiasAndNorm
from lth.callbacks.boundary.prune_to_density import Prune
from lth.callbacks.boundary.rewind import Rewind
from lth.callbacks.watch.curves import Curves
from lth.callbacks.watch.keep_ticket import KeepTicket
from lth.callbacks.watch.last_checkpoint import AtomicCheckpointIO, LastCheckpoint
from lth.callbacks.watch.layer_report import LayerReport
from lth.callbacks.watch.same_on_ranks import SameOnRanks
from lth.callbacks.watch.show_progress import ShowProgress
from lth.callbacks.watch.stop_on_nonfinite import StopOnNonFinite
from lth.callbacks.watch.topology import WatchTopology
from lth.callbacks.within.at_average import AtAverage
from lth.callbacks.within.ema import EMA
from lth.callbacks.within.gradual import Gradual
from lth.callbacks.within.keep_pruned import KeepPruned
from lth.callbacks.within.regrow import Regrow
from lth.callbacks.within.rescale import Rescale
from lth.callbacks.within.rescore_by_magnitude import RescoreByMagnitude
from lth.callbacks.within.scheduled import Scheduled

__all__ = [
    "EMA",
    "AfterStep",
    "AtAverage",
    "AtomicCheckpointIO",
    "BatchNorm",
    "Control",
    "Curves",
    "DrawWeights",
    "Gradual",
    "KeepPruned",
    "KeepTicket",
    "LastCheckpoint",
    "LayerReport",
    "Prune",
    "PruneBiasAndNorm",
    "Regrow",
    "Rescale",
    "RescoreByMagnitude",
    "Rewind",
    "SameOnRanks",
    "Scheduled",
    "ShowProgress",
    "StopOnNonFinite",
    "WatchTopology",
]
