"""LightningModules: what is trained, and how its steps go."""

from lth.modules.kept_weights import KeptWeights
from lth.modules.recipe import Recipe

__all__ = ["KeptWeights", "Recipe"]
