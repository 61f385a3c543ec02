"""Loggers: where curves and levels go. Trackers are imported only when asked for."""

from lth.loggers.curves_csv import CurvesCSV

__all__ = ["CurvesCSV"]
