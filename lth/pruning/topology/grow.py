"""Growing: where the weights that a topology update dropped come back. Scores; larger = grows."""

from torch import Tensor

from lth.pruning.topology.layer import Site


def random(site: Site) -> Tensor:
    """Uniform numbers (SET, arXiv 1707.04780)."""
    return site.draw()


def random_unfired(site: Site) -> Tensor:
    """Uniform among the weights that were never active; the others come after them (ITOP, arXiv 2102.02887)."""
    return site.draw() + (~site.ever).to(site.weight.dtype)


def gradient(site: Site) -> Tensor:
    """|g| of the dense gradient, or of whatever memory of it is kept (RigL, arXiv 1911.11134; SNFS, 1907.04840)."""
    return site.dense_gradient().abs()
