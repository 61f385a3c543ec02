"""Masks before any training on digits: an MLP 64-256-256-10 at density 0.02, 30 epochs, three seeds.

Measured means and spreads of all methods are in docs/tickets_at_init.md.
"""

from functools import cache
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory

import pytest

from tests.support.harness import train
from tests.support.left import rows


@cache
def accuracy(method: str, *options: str) -> float:
    """Mean test accuracy over three seeds."""
    ends = []
    for seed in (0, 1, 2):
        with TemporaryDirectory() as folder:
            overrides = f"method={method}", "sparsity.density=0.02", f"seed={seed}", "logger=none", *options
            train(folder, "experiment=own/digits_at_init", *overrides, small=False)
            ends.append(float(rows(Path(folder))[-1]["test_accuracy"]))
    return fmean(ends)


@pytest.mark.engine
@pytest.mark.parametrize("densities", ["erk", "balanced"])
def test_layer_densities_are_worth_twenty_points_to_a_random_mask(densities: str):
    assert accuracy(densities) >= accuracy("er_uniform") + 0.20


@pytest.mark.engine
@pytest.mark.parametrize("criterion", ["snip", "grasp", "synflow"])
def test_scored_masks_beat_random_ones_of_the_best_layer_densities(criterion: str):
    assert accuracy(criterion) >= max(accuracy("erk"), accuracy("balanced")) + 0.02


@pytest.mark.engine
def test_one_round_of_synflow_and_magnitude_at_initialisation_collapse():
    assert accuracy("synflow", "method.rounds=1") < 0.2
    assert accuracy("magnitude_at_init") < 0.2
    assert accuracy("synflow") > 0.9
