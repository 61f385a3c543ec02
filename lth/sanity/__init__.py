"""Sanity checks of tickets: the five conditions, the verdict and the small dense control (arXiv 2107.00166)."""

from lth.sanity._conditions import Rules

__all__ = ["Rules"]
