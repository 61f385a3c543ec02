"""The picture of one run: a dense line, and limits that a training curve at 1 does not set."""

import pytest

from lth.report.figures.single_run import accuracy_curve


@pytest.mark.slow
def test_a_training_curve_at_1_leaves_the_limits_to_test_and_validation():
    rows = [
        {"density": density, "test_accuracy": 0.7 + 0.02 * density, "val_accuracy": 0.71, "train_accuracy": 1.0}
        for density in (1.0, 0.5, 0.2)
    ]
    (axes,) = accuracy_curve(rows, "title").axes
    assert axes.get_ylim()[1] < 0.73
    labels = [line.get_label() for line in axes.lines]
    assert labels == ["test", "validation", "train (1, beyond the axis)", "dense, test: 0.7200"]
    assert axes.lines[-1].get_ydata()[0] == pytest.approx(0.72)
