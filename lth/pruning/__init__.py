"""Masks, criteria, allocations and ladders. Importing this package needs torch only, not Lightning."""

from lth.pruning import allocation, criteria, ladder
from lth.pruning.masks import Masks
from lth.pruning.prunable import prunable
from lth.pruning.prune import prune

__all__ = ["Masks", "allocation", "criteria", "ladder", "prunable", "prune"]
