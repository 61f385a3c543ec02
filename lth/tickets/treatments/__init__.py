"""Treatments: what a control changes in a ticket before it is trained. Pure: what they are given stays as it was.

`(masks, weights, draw, seed, scores) -> (masks, weights)`. masks: parameter name -> 0/1 or bool tensor. weights: the
whole starting state. draw: a function of a seed that builds the network with initial weights drawn from it. scores:
those the ticket's criterion gave, larger = keep; only the controls that doubt the scores need them.
"""

from lth.tickets.treatments.invert import invert
from lth.tickets.treatments.none import none
from lth.tickets.treatments.permute_scores import permute_scores
from lth.tickets.treatments.random import random
from lth.tickets.treatments.reinit import reinit
from lth.tickets.treatments.shuffle import shuffle_filters, shuffle_layers
from lth.tickets.treatments.treatment import Draw, State, Treatment

BY_NAME = {f.__name__: f for f in (none, reinit, shuffle_layers, shuffle_filters, random, invert, permute_scores)}

__all__ = [
    "BY_NAME",
    "Draw",
    "State",
    "Treatment",
    "invert",
    "none",
    "permute_scores",
    "random",
    "reinit",
    "shuffle_filters",
    "shuffle_layers",
]
