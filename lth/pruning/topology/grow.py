"""Growing: a score for each position at which a topology update may grow weights; larger = grows first."""

from torch import Tensor

from lth.pruning.topology.layer import Layer


def random(layer: Layer) -> Tensor:
    """Uniform in [0, 1): weights grow at random (SET, arXiv 1707.04780)."""
    return layer.draw()


def random_unfired(layer: Layer) -> Tensor:
    """At random, first among weights that were never active, then among the others (ITOP, arXiv 2102.02887)."""
    return layer.draw() + (~layer.ever).to(layer.weight.dtype)


def gradient(layer: Layer) -> Tensor:
    """|g| of the dense gradient as the memory holds it (RigL, arXiv 1911.11134; SNFS, arXiv 1907.04840)."""
    return layer.dense_gradient().abs()
