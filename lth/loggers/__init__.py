"""Loggers: where curves and levels go. The trackers behind them are imported when a run uses them."""

from lth.loggers.curves_csv import CurvesCSV
from lth.loggers.tensorboard import ExperimentTensorBoard
from lth.loggers.weights_and_biases import ExperimentWandb

__all__ = ["CurvesCSV", "ExperimentTensorBoard", "ExperimentWandb"]
