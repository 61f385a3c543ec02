"""Weights that a network starts from: distributions, constructions, and frozen weights for searches."""
