"""Sanity checks of tickets: the five conditions, the verdict and the small dense control (arXiv 2107.00166)."""
