"""Sanity checks of tickets: conditions, verdicts and the small dense control (arXiv 2107.00166)."""
