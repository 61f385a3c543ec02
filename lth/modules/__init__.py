"""LightningModules: what each kind of method trains, and its training step."""

from lth.modules.kept_weights import KeptWeights
from lth.modules.penalised_weights import PenalisedWeights
from lth.modules.score_search import ScoreSearch
from lth.modules.soft_threshold import SoftThreshold
from lth.modules.spliced_weights import SplicedWeights
from lth.training.recipe import Recipe

__all__ = ["KeptWeights", "PenalisedWeights", "Recipe", "ScoreSearch", "SoftThreshold", "SplicedWeights"]
