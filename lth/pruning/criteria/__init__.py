"""Criteria: functions that give each weight a score; larger = keep. One file each, named by Hydra's `_target_`."""

from lth.pruning.criteria.magnitude import magnitude
from lth.pruning.criteria.random import random

__all__ = ["magnitude", "random"]
