"""Criteria: functions that score each weight; larger = keep. One file each, configured by `_target_`."""

from lth.pruning.criteria.grasp import grasp
from lth.pruning.criteria.magnitude import magnitude
from lth.pruning.criteria.random_scores import random
from lth.pruning.criteria.snip import snip
from lth.pruning.criteria.synaptic_flow import synflow

__all__ = ["grasp", "magnitude", "random", "snip", "synflow"]
