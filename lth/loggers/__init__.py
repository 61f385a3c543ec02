"""Loggers of curves and levels. TensorBoard and W&B are imported only by runs that use them."""

from lth.loggers.curves_csv import CurvesCSV
from lth.loggers.tensorboard import ExperimentTensorBoard
from lth.loggers.weights_and_biases import ExperimentWandb

__all__ = ["CurvesCSV", "ExperimentTensorBoard", "ExperimentWandb"]
