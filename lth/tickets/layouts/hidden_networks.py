"""hidden-networks (allenai; edge-popup, arXiv 1911.13299): frozen weights and scores, without the keep rate."""

from pathlib import Path

from lth.tickets.formats._assemble import assemble, starting
from lth.tickets.formats._masks_from_scores import given_density, largest_by_layer, layers_with
from lth.tickets.formats.content import read as read_content
from lth.tickets.ticket import Ticket


def read(source: Path, weights: Path | None = None, density: float | None = None) -> Ticket:
    """Keep the largest score magnitudes of each layer.

    density: fraction of weights kept, the program's `prune_rate`; required
    """
    density = given_density(density, "an edge-popup checkpoint needs")
    content = read_content(source)
    scores = layers_with(content.weights, "scores")
    if not scores:
        raise ValueError(f"{source} holds no scores beside its weights")
    plain = {n: w for n, w in starting(weights, content).items() if not n.endswith(".scores")}
    return assemble("hidden_networks", largest_by_layer(scores, density), plain, source, density=density)
