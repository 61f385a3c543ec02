"""Cost of training in epochs, multiply-adds and seconds: of a level, and of all levels up to it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from lth.report.collect import Run

_FORWARD_AND_BACKWARD = 3  # the backward pass costs two forward passes: gradients of inputs and of weights


@dataclass(frozen=True)
class Cost:
    """Epochs, multiply-adds (None where the table of layers is missing) and seconds of wall time."""

    epochs: float
    multiply_adds: float | None
    seconds: float

    def __add__(self, other: "Cost") -> "Cost":
        known = self.multiply_adds is not None and other.multiply_adds is not None
        total = (self.multiply_adds or 0) + (other.multiply_adds or 0) if known else None
        return Cost(self.epochs + other.epochs, total, self.seconds + other.seconds)

    @staticmethod
    def mean(of_seeds: "Sequence[Cost]") -> "Cost":
        """The mean over replicates; multiply-adds are None where one of them is unknown."""
        known = [cost.multiply_adds for cost in of_seeds if cost.multiply_adds is not None]
        return Cost(
            fmean(cost.epochs for cost in of_seeds),
            fmean(known) if len(known) == len(of_seeds) else None,
            fmean(cost.seconds for cost in of_seeds),
        )


def costs(run: Run) -> dict[int, tuple[Cost, Cost]]:
    """Level -> cost of the level, and cost of it and all levels before it.

    Levels of sanity checks do not continue one another; both numbers are those of the level alone.
    """
    found, so_far = {}, Cost(0, 0, 0)
    for row in run.rows:
        own = _of_level(run, row)
        so_far = own if run.is_sanity_check else so_far + own
        found[row["level"]] = own, so_far
    return found


def _of_level(run: Run, row: Mapping[str, Any]) -> Cost:
    """Multiply-adds = 3 x those of the kept weights in one forward pass x images seen.

    For levels that are pruned while they train, the kept weights are corrected to the mean density of the epochs.
    Dense gradients that a method computes at some steps, and scoring before training, are not counted.
    """
    layers = run.layers.get(row["level"], ())
    if any(layer.get("macs_kept") is None for layer in layers):  # a script's network, whose inputs are not known
        layers = ()
    forward = sum(layer["macs_kept"] for layer in layers) * _relative_density(run, row)
    total = _FORWARD_AND_BACKWARD * forward * _images_seen(run.config, row) if layers else None
    return Cost(row.get("epochs", 0.0), total, row.get("seconds", 0.0))


def _images_seen(config: Mapping[str, Any], row: Mapping[str, Any]) -> float:
    """Training images of a level, counted in every epoch.

    Where the configuration lacks the size of the training set, the last batch of an epoch counts as a full one.
    """
    dataset, recipe = config.get("dataset", {}), config.get("recipe", {})
    size = dataset.get("train_count") or dataset.get("train_size")
    if size and row.get("epochs"):
        return row["epochs"] * images_of_training(dataset, size)
    return row.get("steps", 0) * recipe.get("batch_size", 0) * recipe.get("accumulate", 1)


def images_of_training(dataset: Mapping[str, Any], size: int) -> int:
    """Number of training images after the validation split and the subsampling.

    dataset: configuration of the dataset, with val_size (count, or fraction of `size`) and subsample_frac
    size: images before the split
    """
    val_size = dataset.get("val_size") or 0
    left = size - (round(val_size * size) if isinstance(val_size, float) else val_size)
    return max(1, round(dataset.get("subsample_frac", 1.0) * left))


def _relative_density(run: Run, row: Mapping[str, Any]) -> float:
    """Mean density of the level's epochs over the density at its end, which the table of layers has."""
    epochs = run.epochs_density.get(row["level"], ())
    return fmean(epochs) / row["density"] if epochs and row["density"] else 1.0
